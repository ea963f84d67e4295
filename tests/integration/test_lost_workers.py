"""A run whose workers were lost, or that compared nothing, is red wherever somebody may look."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.integration.support import Done, cases, properties, run_pytest
from tests.reports.runner import commands

pytest.importorskip("xdist", reason="pytest-xdist is not installed")

LOST = """
import os

def test_gate(injx):
    injx.assert_no_collisions("all")

def test_dies():
    os._exit(1)
"""
NOTHING = "def test_unit():\n    pass\n\ndef test_other():\n    pass\n"


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
) -> Callable[..., Done]:
    """Runs a suite with two workers in a step of a GitHub workflow, with every report there is."""

    def run(suite: str, *flags: str) -> Done:
        folder = tmp_path_factory.mktemp("lost")
        return run_pytest(
            folder,
            suite,
            *("-n", "2", "--dist=loadscope"),
            *(f"--injx-model={checkpoint('generic')}", f"--injx-prompts={prompt_file(texts)}"),
            *("--junitxml=junit.xml", "--injx-report=json:r.json", "--injx-report=markdown:s.md"),
            *flags,
            GITHUB_ACTIONS="true",
            GITHUB_WORKSPACE=str(folder),
        )

    return run


@pytest.fixture(
    scope="module",
    params=[
        ((LOST, "--max-worker-restart=0"), "the run was incomplete", "pytest-xdist lost gw"),
        # Without workers: test_nothing_compared.py.
        pytest.param(
            ((NOTHING,), "nothing was compared", "an audit was asked for"), marks=pytest.mark.slow
        ),
        pytest.param(
            ((LOST,), "the run was incomplete", "pytest-xdist lost gw"), marks=pytest.mark.slow
        ),
    ],
    ids=["lost and stopped", "nothing", "lost"],
)
def red(request: pytest.FixtureRequest, run: Callable[..., Done]) -> tuple[Done, str, str]:
    """A run that did not do what it was to do; the title of the failure and what it says."""
    arguments, title, text = request.param
    return run(*arguments), title, text


def test_the_exit_status_is_red(red: tuple[Done, str, str]) -> None:
    """1, or 2 where xdist itself stopped the run."""
    done, _, _ = red
    assert done.status in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


def test_it_is_told_once(red: tuple[Done, str, str]) -> None:
    """By the controller, for all workers."""
    done, title, text = red
    assert 1 == done.text.count(f"FAILED injectivity::{title}")
    assert text in done.text
    if title == "nothing was compared":
        assert "1 failed, 2 passed" in done.text


def test_junit_is_red(red: tuple[Done, str, str]) -> None:
    """A failure of its own, counted."""
    done, title, text = red
    failure = cases(done.junit)[title].find("failure")
    assert text in failure.text
    suite = ET.parse(done.junit).getroot().find("testsuite")  # noqa: S314 - written by pytest, just now
    assert int(suite.attrib["failures"]) > 0


def test_json_is_red(red: tuple[Done, str, str]) -> None:
    """The outcome says so and why."""
    done, title, text = red
    report = json.loads((done.folder / "r.json").read_text())
    outcome = report["outcome"]
    assert report["complete"] is (title != "the run was incomplete")
    assert ("red", done.status) == (outcome["colour"], outcome["exit_status"])
    (why,) = [one for one in outcome["why"] if one.startswith(f"{title}: ")]
    assert text in why
    assert report["complete"] or why.endswith(": some checks did not run")


def test_markdown_is_red(red: tuple[Done, str, str]) -> None:
    """The headline says so, and the line under it why."""
    done, title, text = red
    head, _, below = (done.folder / "s.md").read_text(encoding="utf-8").partition("\n\n")
    assert head.startswith("## ❌ Injectivity audit red: ")
    assert below.startswith(f"- {title}: ")
    assert text in below.partition("\n")[0]


def test_an_annotation_is_red(red: tuple[Done, str, str]) -> None:
    """The runner reads one error, by its own rules."""
    done, title, text = red
    (error,) = commands(done.text)
    assert "error" == error.name
    assert error.data.startswith(f"{title}: ")
    assert text in error.data


def test_values_arrive_from_the_workers_that_lived(red: tuple[Done, str, str]) -> None:
    """JUnit's second family has a property a layer and check."""
    done, title, _ = red
    if title == "nothing was compared":
        assert all(not properties(case) for case in cases(done.junit).values())
        return
    values = {
        name: text for case in cases(done.junit).values() for name, text in properties(case).items()
    }
    for layer in ("layer01", "layer02", "norm"):
        assert "0 PASS" == values[f"no_collisions.{layer}"]
