"""Ship or not, as a run of pytest decides it."""

import json
from pathlib import Path

import pytest

from pytest_injectivity.testing import byte_tokenizer, round_weights, save_checkpoint, tiny_decoder
from tests.integration.conftest import Run
from tests.integration.support import output, said
from tests.results.test_evaluation import with_model, written

GATE = """
    def test_drift(assert_state_drift_below):
        assert_state_drift_below(1, relative=0.5)
"""


@pytest.fixture
def flags(tmp_path: Path, checkpoint: object) -> list[str]:
    """A sound child of the generic model, with results files of both."""
    child = round_weights(tiny_decoder("gpt2", vocab=256, tokenizer=byte_tokenizer()), 8)
    save_checkpoint(child, tmp_path / "child")
    return [
        f"--injx-model={tmp_path / 'child'}",
        f"--injx-reference={checkpoint('generic')}",  # type: ignore[operator]
        f"--injx-report=decision:{tmp_path / 'decision.json'}",
        f"--injx-evaluation={with_model(tmp_path / 'c.json', 'child')}",
        f"--injx-reference-evaluation={written(tmp_path / 'p.json')}",
    ]


def test_a_child_that_keeps_every_rule_ships(
    flags: list[str], audited: Run, tmp_path: Path, pytester: pytest.Pytester
) -> None:
    """Rules and files are read from the ini, a rule a line."""
    pytester.makeini(
        "[pytest]\ninjx_decision =\n    verdicts pass\n    recovery >= 0.99\n    size <= 1.1\n"
        f"injx_evaluation = {tmp_path / 'c.json'}\ninjx_reference_evaluation = {tmp_path / 'p.json'}\n"
    )
    result = audited(GATE, *flags[:3])
    assert pytest.ExitCode.OK == result.ret, output(result)
    found = json.loads((tmp_path / "decision.json").read_text())["decision"]
    assert "SHIP" == found["choice"]
    assert ["kept"] * 3 == [one["kept"] for one in found["rules"]]
    assert found["size"] > 0
    assert found["reference_size"] > 0
    assert (tmp_path / "decision.md").read_text().startswith("# ✅ SHIP: ")


def test_a_green_run_that_decides_not_to_ship_fails(
    flags: list[str], audited: Run, tmp_path: Path
) -> None:
    """As a test of its own, which CI pages show."""
    rules = "--injx-decision=verdicts pass; size <= 0.5; recovery >= 0.99"
    result = audited(GATE, *flags, rules)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "the decision is not to ship: DO NOT SHIP: size <= 0.5: " in said(result)
    found = json.loads((tmp_path / "decision.json").read_text())["decision"]
    assert ["kept", "not kept", "kept"] == [one["kept"] for one in found["rules"]]


def test_nothing_ships_that_was_compared_with_no_parent(
    flags: list[str], audited: Run, tmp_path: Path
) -> None:
    """Its own verdicts do not say what it lost."""
    suite = "def test_margin(injx):\n    injx.assert_margin_above(1, 1e-9)\n"
    result = audited(suite, flags[0], flags[2])
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "NOT COMPARABLE: no reference" in said(result)
    assert "# ⚠️ NOT COMPARABLE" in (tmp_path / "decision.md").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--injx-decision=size <= 0.5"], "no rule of --injx-decision judges them"),
        (["--injx-decision=recovery > 1"], "is no rule of a decision"),
        (
            ["--injx-decision=recovery >= 1", "--injx-evaluation=/none.json"],
            "none.json: there is no such file",
        ),
    ],
)
def test_what_cannot_be_decided_is_refused_before_any_test(
    flags: list[str], audited: Run, given: list[str], message: str
) -> None:
    """A wrong file costs no hours."""
    result = audited(GATE, *flags, *given)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert message in said(result)


def test_a_flag_that_nothing_is_decided_by_is_refused(flags: list[str], audited: Run) -> None:
    """Without the report."""
    result = audited(GATE, *flags[:2], *flags[3:])
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-evaluation is given, and nothing is decided: give --injx-report=decision" in (
        said(result)
    )


def test_a_file_that_goes_away_while_tests_run_decides_nothing(
    flags: list[str], audited: Run, tmp_path: Path
) -> None:
    """The report is written all the same, and says which file."""
    gone = f"    import pathlib\n        pathlib.Path({str(tmp_path / 'c.json')!r}).unlink()\n"
    suite = f"{GATE.rstrip()}\n    {gone}"
    result = audited(suite, *flags, "--injx-decision=recovery >= 0.5")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "NOT COMPARABLE: " in said(result)
    assert "c.json: there is no such file" in (tmp_path / "decision.md").read_text()
