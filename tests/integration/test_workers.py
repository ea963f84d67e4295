"""A run whose states are captured by workers of Ray, against one without."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.support import Done, run_pytest
from tests.integration.test_xdist import SUITE, untimed

pytest.importorskip("ray", reason="ray is not installed")


@pytest.mark.slow
def test_workers_change_nothing_of_a_run(
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
    tmp_path: Path,
) -> None:
    """Equal JSON, apart from times; the same words on the terminal, and none of Ray's."""
    key = tmp_path / "key"
    key.write_text("a key")
    asked = (
        f"--injx-model={checkpoint('generic')}",
        f"--injx-prompts={prompt_file(texts)}",
        f"--injx-hash-key-file={key}",
        "--injx-no-cache",
        "--injx-batch-tokens=16",
        "--injx-report=json:report.json",
    )

    def run(name: str, *flags: str) -> Done:
        (tmp_path / name).mkdir()
        return run_pytest(tmp_path / name, SUITE, *asked, *flags)

    alone, shared = run("alone"), run("shared", "--injx-workers=2")
    reports = [json.loads((one.folder / "report.json").read_text()) for one in (alone, shared)]
    assert all(report.pop("origin")["date"] for report in reports)
    assert 6 == len(reports[0]["verdicts"])
    assert untimed(reports[0]) == untimed(reports[1])
    assert alone.status == shared.status == pytest.ExitCode.TESTS_FAILED
    assert "ray" not in shared.text.replace("--injx-workers", "").lower().split()
    assert "(raylet)" not in shared.text
