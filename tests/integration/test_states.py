"""--injx-states: states captured elsewhere, through pytest, with workers and without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.states.external import save_states
from pytest_injectivity.testing import tiny_decoder
from tests.integration.conftest import Run
from tests.integration.support import cases, output, properties, run_pytest, said
from tests.served_files import served, write

GATE = "def test_gate(assert_states_recoverable):\n    assert_states_recoverable()\n"
DEFAULT = Path(__file__).parents[2] / "example_suites/default_audit/test_states.py"
TEXTS = ("wisteria 1", "mandrake 22")


@pytest.fixture
def states(checkpoint: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A file of the states of two texts, at layer 2 of a model."""

    def captured(**given: Any) -> Path:
        decoder = load_decoder(str(checkpoint("generic")), device="cpu")
        ids = [list(text.encode()) for text in TEXTS]
        path = tmp_path / "states.safetensors"
        found = [observe(decoder, one, [2])[2] for one in ids]
        save_states(path, found, 2, **{"ids": ids, **given})
        return path

    return captured


def test_states_are_read_and_nothing_of_them_is_shown(
    audited: Run, states: Callable[..., Path], pytester: pytest.Pytester
) -> None:
    """The verdict is in the summary, JUnit and JSON; the texts only when asked for."""
    reports = ("--junitxml=junit.xml", "--injx-report=json:r.json", "-rA")
    for flags, shown in (((), False), (("--injx-show-prompts",), True)):
        result = audited(GATE, f"--injx-states={states()}", *reports, *flags)
        result.assert_outcomes(passed=1)
        assert "1 of 1 verdict PASS" in output(result)
        (verdict,) = json.loads((pytester.path / "r.json").read_text())["verdicts"]
        assert "states_recoverable" == verdict["check"]
        assert {"observation_error", "resolution", "first_residual", "candidates_per_token"} == set(
            verdict["reasons"][0]["figures"]
        )
        found = properties(cases(pytester.path / "junit.xml")["test_gate"])
        assert "1.0 PASS" == found["states_recoverable.layer02"]
        written = output(result) + (pytester.path / "junit.xml").read_text() + json.dumps(verdict)
        for text in TEXTS:
            assert shown == (text in written)


def test_a_folder_of_an_engine_is_judged_and_reported(
    audited: Run, checkpoint: Callable[[str], Path], pytester: pytest.Pytester, tmp_path: Path
) -> None:
    """The reports say where the states are from, and name no token of them."""
    decoder = load_decoder(str(checkpoint("generic")), device="cpu")
    for at, text in enumerate(TEXTS):
        path = write("vllm", tmp_path / "s", served(decoder, list(text.encode()), (1, 2)))
        path.rename(path.with_name(f"{at}.safetensors"))
    gate = (
        "def test_served(injx):\n    injx.assert_served_as_audited()\n"
        "    injx.assert_served_margin_above(margin=1e-6)\n"
    )
    result = audited(gate, f"--injx-states={tmp_path / 's'}", "--injx-report=json:r.json")
    result.assert_outcomes(passed=1)
    written = (pytester.path / "r.json").read_text()
    assert "2 files of layout vllm; N = 2" in written
    assert not any(text in written + output(result) for text in TEXTS)


@pytest.mark.parametrize(
    ("given", "outcomes", "why"),
    [
        ({}, {"passed": 3}, "3 passed"),
        ({"ids": None}, {"passed": 1, "skipped": 2}, "the file has no ids: what its states are of"),
        (
            {"observation_error": 1e-3},
            {"passed": 1, "skipped": 2},
            "the file says how far its states are off",
        ),
    ],
)
def test_the_default_audit_judges_states_by_what_is_said_of_them(
    audited: Run,
    states: Callable[..., Path],
    given: dict[str, Any],
    outcomes: dict[str, int],
    why: str,
) -> None:
    """They are held against the model where it is said what they are of, and that they are exact."""
    result = audited(DEFAULT.read_text(), f"--injx-states={states(**given)}", "-rs")
    result.assert_outcomes(**outcomes)
    assert why in output(result)


def test_states_of_another_model_fail_in_plain_words(audited: Run, tmp_path: Path) -> None:
    """The first line says it, the evidence by how much."""
    other, ids = tiny_decoder("gpt2", vocab=256, seed=1), list(TEXTS[0].encode())
    path = tmp_path / "other.safetensors"
    save_states(path, observe(other, ids, [2])[2], 2)
    result = audited(GATE, f"--injx-states={path}")
    result.assert_outcomes(failed=1)
    assert "FAIL states_recoverable layer02: not of this model at this layer" in output(result)
    assert "nothing verifies at the first token; residual " in said(result)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "it cannot be read: No such file or directory"),
        (b"\x80\x04}\x94.", "it would be unpickled, which runs code"),
        (b"\x00" * 64, "it is no complete safetensors file"),
    ],
)
def test_files_that_are_not_accepted_are_wrong_use(
    audited: Run, pytester: pytest.Pytester, content: bytes | None, expected: str
) -> None:
    """One paragraph that names the file, and exit status 4."""
    if content is not None:
        (pytester.path / "s.safetensors").write_bytes(content)
    result = audited(GATE, "--injx-states=s.safetensors")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert f"OptionError: s.safetensors: {expected}" in said(result)
    assert "Traceback" not in output(result)


def test_a_check_without_a_file_is_wrong_use(audited: Run) -> None:
    """The flag is named."""
    result = audited(GATE)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "give --injx-states=PATH" in said(result)


@pytest.mark.slow
def test_workers_read_them_once(
    states: Callable[..., Path],
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
    tmp_path: Path,
) -> None:
    """Two workers judge one file: the second finds the first one's result."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    gate = (
        "    def test_gate(self, assert_states_recoverable):\n        assert_states_recoverable()\n"
    )
    done = run_pytest(
        tmp_path,
        f"class TestOne:\n{gate}\nclass TestTwo:\n{gate}",
        *("-n", "2", "--dist=loadscope"),
        *(f"--injx-states={states()}", "--injx-report=json:r.json", "--injx-no-cache"),
        *(f"--injx-model={checkpoint('generic')}", f"--injx-prompts={prompt_file(texts)}"),
    )
    assert pytest.ExitCode.OK == done.status, done.text
    one, two = json.loads((tmp_path / "r.json").read_text())["verdicts"]
    # The time it took is in the evidence: two computations would differ.
    assert one["reasons"] == two["reasons"]


def test_a_bfloat16_copy_is_read_too(
    audited: Run, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """The rounding of the file's dtype is taken into account without a word."""
    decoder = load_decoder(str(checkpoint("generic")), device="cpu")
    ids = list(TEXTS[0].encode())
    path = tmp_path / "half.safetensors"
    save_states(path, observe(decoder, ids, ["norm"])["norm"].to(torch.bfloat16), "norm", ids=[ids])
    audited(GATE, f"--injx-states={path}").assert_outcomes(passed=1)
