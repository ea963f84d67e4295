"""Flags of the command line that no test used: wrong use, unless some tests did not run."""

import json
from collections.abc import Callable

import pytest

from tests.integration.conftest import Run as Audited
from tests.integration.support import output, said

GATE = """
def test_gate(injx):
    injx.assert_no_collisions(1)
"""
UNUSED = "was given, and no test of this run used it"
MISSING = "--injx-reference=/nonexistent"


@pytest.fixture
def report(
    audited: Audited, pytester: pytest.Pytester
) -> Callable[..., tuple[int, str, list[str]]]:
    """Runs a suite: the exit status, what was printed, and the wrong use in the JSON report."""

    def run(*flags: str, suite: str = GATE) -> tuple[int, str, list[str]]:
        result = audited(suite, "--injx-report=json:r.json", *flags)
        wrong = json.loads((pytester.path / "r.json").read_text())["wrong_use"]
        return int(result.ret), said(result), wrong

    return run


def test_flags_that_nothing_used_are_wrong_use(
    report: Callable[..., tuple[int, str, list[str]]],
) -> None:
    """Each is named with its value and with what would use it; used ones are not."""
    flags = (MISSING, "--injx-layers=2", "--injx-baseline=kept", "--injx-states=s.safetensors")
    release = "--injx-release=identity@1"
    used = ("--injx-prompt-metric=hamming", "--injx-max-prompts=9")
    status, printed, wrong = report(*flags, release, "--injx-conversations=whole", *used)
    assert pytest.ExitCode.USAGE_ERROR == status
    assert "FAILED injectivity::a flag was not used" in printed
    named = sorted(one.partition(" ")[0] for one in wrong)
    assert sorted([*flags, release, "--injx-conversations=whole"]) == named
    assert any("it is for checks against a parent, such as" in one for one in wrong)


@pytest.mark.parametrize(
    ("suite", "flags"),
    [
        (GATE, ("-k", "gate")),
        (GATE, ("test_suite.py::test_gate",)),
        (GATE + "\nimport pytest\n\n@pytest.mark.skip\ndef test_parent():\n    pass\n", ()),
    ],
    ids=["deselected", "named", "skipped"],
)
def test_where_tests_did_not_run_it_is_said(
    report: Callable[..., tuple[int, str, list[str]]], suite: str, flags: tuple[str, ...]
) -> None:
    """One of them may be what the flag is for."""
    status, printed, wrong = report(MISSING, *flags, suite=suite)
    assert (pytest.ExitCode.OK, []) == (status, wrong)
    assert f"{MISSING} {UNUSED}" in printed
    assert "(some tests did not run)" in printed


def test_a_red_run_says_nothing_of_flags(
    report: Callable[..., tuple[int, str, list[str]]],
) -> None:
    """Its failures come first."""
    suite = GATE + "\ndef test_red():\n    assert False\n"
    status, printed, wrong = report(MISSING, suite=suite)
    assert (pytest.ExitCode.TESTS_FAILED, []) == (status, wrong)
    assert UNUSED not in printed


def test_an_ini_value_may_go_unused(audited: Audited, pytester: pytest.Pytester) -> None:
    """It is of a project and not of this run; so are flags in addopts."""
    lines = "[pytest]\ninjx_reference = /nonexistent\naddopts = --injx-layers=2\n"
    pytester.makefile(".ini", pytest=lines)
    result = audited(GATE)
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert UNUSED not in said(result)


def test_what_is_used_while_fixtures_are_made_counts(
    report: Callable[..., tuple[int, str, list[str]]],
) -> None:
    """By the parameter that is a layer or a release, and by a check that names none."""
    suite = """
def test_layers(injx_layer):
    pass

def test_release(injx, injx_release):
    injx.assert_no_collisions()
"""
    status, printed, _ = report("--injx-layers=1", "--injx-release=identity@1", suite=suite)
    assert pytest.ExitCode.OK == status, printed
