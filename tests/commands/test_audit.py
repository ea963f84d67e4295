"""What ``pytest-injectivity audit`` hands to pytest; no model is loaded."""

from pathlib import Path

import pytest

from pytest_injectivity.__main__ import main
from pytest_injectivity.commands import audit as command
from pytest_injectivity.config.options import flag, options


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that pytest would get, instead of a run."""
    arguments: list[str] = []

    def run(given: list[str]) -> int:
        arguments[:] = given
        return 1

    monkeypatch.setattr(pytest, "main", run)
    monkeypatch.setattr(command, "_check", lambda _models: None)
    return arguments


def flags(arguments: list[str]) -> list[str]:
    """Those of this plugin."""
    return [one for one in arguments if one.startswith("--injx-")]


def test_the_suite_is_run_with_the_models_and_a_page(handed: list[str]) -> None:
    """The exit status is pytest's; an option is taken with and without the prefix."""
    assert 1 == main(["audit", "a", "b", "--prompts=p.txt", "--injx-layers=4:", "--seed", "3"])
    assert "default_audit" == Path(handed[0]).name
    assert [
        "--injx-model=a",
        "--injx-model=b",
        "--injx-prompts=p.txt",
        "--injx-layers=4:",
        "--injx-seed=3",
        "--injx-report=html:injectivity.html",
    ] == flags(handed)


@pytest.mark.parametrize(
    ("given", "reports"),
    [
        (["--no-html"], []),
        (["--html=a.html"], ["html:a.html"]),
        (["--json=a.json", "--no-html"], ["json:a.json"]),
        (["--report=html:b.html"], ["html:b.html"]),
        (["--report=markdown:b.md"], ["markdown:b.md", "html:injectivity.html"]),
        (["--plan"], []),
    ],
)
def test_the_reports_are_those_asked_for(
    handed: list[str], given: list[str], reports: list[str]
) -> None:
    """A page goes to a place of its own unless another is named, or none is wanted."""
    main(["audit", "a", *given])
    assert [f"--injx-report={one}" for one in reports] == [
        one for one in flags(handed) if "report" in one
    ]


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ("--no-cache", "--injx-no-cache"),
        ("--cache", "--injx-cache"),
        ("--injx-no-show-prompts", "--injx-no-show-prompts"),
        ("--release=identity@1", "--injx-release=identity@1"),
    ],
)
def test_switches_and_lists_are_handed_on(handed: list[str], given: str, flag: str) -> None:
    """On and off."""
    main(["audit", "a", given])
    assert flag in handed


def test_every_option_of_the_plugin_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """From the one table of options: none is declared twice, and none is forgotten."""
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    shown = capsys.readouterr().out
    missing = [one.name for one in options() if flag(one).replace("--injx-", "--") not in shown]
    assert ["model", "require"] == missing


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--dtype=float8"], "--injx-dtype: 'float8' is not accepted"),
        (["--max-prompts=1"], "--injx-max-prompts: "),
        (["--report=pdf:a"], "--injx-report: "),
        (["--update-baseline"], "no baseline is named"),
        (["--workers=0"], "--workers 0 is not accepted: give at least 1"),
        (["-n-1"], "--workers -1 is not accepted: give at least 1"),
        (["--html="], "--html= names no file: give a path, such as injectivity.html"),
        (["--json="], "--json= names no file: give a path, such as injectivity.json"),
        (["--html=/dev/null/a.html"], "--html=/dev/null/a.html cannot be written: Not a directory"),
        (["--json=/"], "--json=/ cannot be written: Is a directory: /: give a file in a folder"),
    ],
)
def test_a_value_that_is_not_accepted_is_one_line(
    handed: list[str], capsys: pytest.CaptureFixture[str], given: list[str], named: str
) -> None:
    """Exit status 4; pytest is not started."""
    assert 4 == main(["audit", "a", *given])
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert named in printed
    assert 1 == printed.count("\n")
    assert [] == handed
