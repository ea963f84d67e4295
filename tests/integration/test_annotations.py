import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output
from tests.reports.runner import Command, commands

GATE = """
def test_good(injx):
    injx.assert_no_collisions("all")


def test_bad(injx):
    verdict = injx.check_margin_above("2:,norm", 1e9)
    verdict.require()
"""
GOOD = "def test_good(injx):\n    injx.assert_no_collisions('norm')\n"
BAD = "def test_bad(injx):\n    injx.assert_margin_above('norm', 1e9)\n"


@pytest.fixture
def workflow(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a GitHub workflow, whose repository is the folder of the test."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))


def _heard(result: pytest.RunResult) -> list[Command]:
    return commands(output(result))


@pytest.mark.usefixtures("workflow")
def test_a_red_verdict_is_annotated_at_its_line(audited: Run) -> None:
    """The line of the gate, the first bad layer, the verdict's first line and how to repeat it."""
    (error,) = _heard(audited(GATE))
    assert ("error", "test_suite.py", "7") == (
        error.name,
        error.properties["file"],
        error.properties["line"],
    )
    assert "margin_above layer02" == error.properties["title"]
    first, second = error.data.split("\n")
    assert first.startswith("FAIL margin_above layer02: separation margin ")
    assert first.endswith(" (+1 more)")
    assert second.startswith("reproduce: pytest test_suite.py::test_bad --injx-model=")


def test_nothing_is_printed_outside_of_a_workflow(audited: Run) -> None:
    """Other terminals would show the command as it is."""
    assert "::error" not in output(audited(GATE))


@pytest.mark.usefixtures("workflow")
def test_ten_errors_are_printed_at_most(audited: Run) -> None:
    """GitHub shows no more of a step; the tenth counts the others."""
    heard = _heard(
        audited("""
            import pytest

            @pytest.mark.parametrize("i", range(14))
            def test_bad(injx, i):
                injx.assert_margin_above("norm", 1e9)
        """)
    )
    assert 10 == len(heard)
    assert "5 more errors: see the summary of the run" == heard[-1].data


@pytest.mark.usefixtures("workflow")
@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("def test_unit():\n    pass\n", "nothing was compared: an audit was asked for"),
        (
            "def test_bad(injx):\n    injx.assert_margin_above(9, margin=1e-12)\n",
            "LayerError: layer 9 is out of",
        ),
    ],
)
def test_what_makes_the_whole_run_red_is_annotated(audited: Run, suite: str, expected: str) -> None:
    """A run that compared nothing, and wrong use."""
    (error,) = _heard(audited(suite))
    assert "error" == error.name
    assert error.data.startswith(expected)


@pytest.mark.usefixtures("workflow")
@pytest.mark.parametrize(
    "suite",
    [
        BAD.replace("assert_", "check_"),
        f"import pytest\n\n@pytest.mark.xfail\n{BAD}",
        f"{GOOD}\n\ndef test_unit():\n    assert False\n",
    ],
    ids=["nobody asserts it", "expected", "another test"],
)
def test_what_made_nothing_red_is_not_annotated(audited: Run, suite: str) -> None:
    """Nor is a failure that this plugin has nothing to say of."""
    assert [] == _heard(audited(suite))


@pytest.mark.usefixtures("workflow")
def test_a_suite_without_an_audit_is_left_alone(pytester: pytest.Pytester) -> None:
    """Somebody else's failures are theirs to annotate."""
    pytester.makepyfile("def test_unit():\n    assert False\n")
    assert [] == _heard(pytester.runpytest_inprocess())


@pytest.mark.usefixtures("workflow")
def test_a_file_of_them_is_written_instead(audited: Run, pytester: pytest.Pytester) -> None:
    """For a script that lets the runner listen only afterwards."""
    result = audited(GATE, "--injx-report=annotations:a.txt")
    assert [] == _heard(result)
    (error,) = commands((pytester.path / "a.txt").read_text())
    assert "margin_above layer02" == error.properties["title"]


def test_the_file_is_written_outside_of_a_workflow_too(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for; a green run's is empty."""
    monkeypatch.chdir(pytester.path)
    audited(GATE, "--injx-report=annotations:a.txt")
    (error,) = commands((pytester.path / "a.txt").read_text())
    assert "test_suite.py" == error.properties["file"]
    audited(GATE.partition("def test_bad")[0], "--injx-report=annotations:a.txt")
    assert "" == (pytester.path / "a.txt").read_text()


@pytest.mark.usefixtures("workflow")
@pytest.mark.parametrize(
    "name",
    [
        "m ##[set-output name=verdict;]green",
        "m\n::set-output name=verdict::green",
        "m\r::set-output name=verdict::green",
        # The table of the summary folds it, so that a line of it begins with the colons.
        f"{'long ' * 13}::set-output name=verdict::green",
    ],
)
def test_a_models_name_gives_no_command(
    pytester: pytest.Pytester, checkpoint: Callable[[str], Path], texts: list[str], name: str
) -> None:
    """Neither in the table, nor in a failure, nor in the annotation that quotes it."""
    (pytester.path / name).symlink_to(checkpoint("generic"), target_is_directory=True)
    (pytester.path / "p.txt").write_text("\n".join(texts))
    pytester.makepyfile(test_suite=GATE)
    result = pytester.runpytest_inprocess(f"--injx-model={name}", "--injx-prompts=p.txt")
    assert re.search("^model ", output(result), re.MULTILINE)
    assert ["error"] == [command.name for command in _heard(result)]
