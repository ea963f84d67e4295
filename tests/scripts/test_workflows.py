"""The workflows of GitHub: whose code they run, with which rights."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documentation.blocks import PAGES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
USES = re.compile(r"^\s*(?:- )?uses: (\S+)(.*)$", re.MULTILINE)
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}")


def _workflow(name: str) -> dict[str, Any]:
    (path,) = (one for one in WORKFLOWS if one.name == name)
    read: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / "action.yml"], ids=lambda path: path.name)
def test_actions_are_pinned_by_the_hash_of_a_commit(path: Path) -> None:
    """A tag may be moved to other code; a comment says which version the commit is."""
    found = USES.findall(path.read_text(encoding="utf-8"))
    assert found
    assert [] == [name for name, _ in found if not PINNED.fullmatch(name)]
    assert [] == [name for name, after in found if not re.fullmatch(r" # v\d+\.\d+\.\d+", after)]


def test_an_action_has_one_commit_everywhere() -> None:
    """In workflows, in action.yml and on the pages."""
    files = [*WORKFLOWS, ROOT / "action.yml", *PAGES]
    found = {name for path in files for name, _ in USES.findall(path.read_text(encoding="utf-8"))}
    theirs = {name for name in found if not name.startswith("OWNER/")}
    assert len(theirs) == len({name.partition("@")[0] for name in theirs}) >= 5


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_a_job_asks_for_more(path: Path) -> None:
    """What a job does not name it does not have."""
    assert {"contents": "read"} == _workflow(path.name)["permissions"]


def test_only_publishing_has_the_identity() -> None:
    """It runs no code of this repository: it publishes what was built and tried before."""
    jobs = _workflow("release.yml")["jobs"]
    rights = {name: job["permissions"] for name, job in jobs.items() if "permissions" in job}
    assert {"publish": {"id-token": "write"}, "github": {"contents": "write"}} == rights
    steps = [step.get("uses", "") for name in rights for step in jobs[name]["steps"]]
    assert [] == [uses for uses in steps if "checkout" in uses]
    assert ("pypi", "wheel") == (jobs["publish"]["environment"], jobs["publish"]["needs"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_expression_becomes_a_part_of_a_command(path: Path) -> None:
    """It is replaced before the shell reads it."""
    jobs = _workflow(path.name)["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands
    assert [] == [command for command in commands if "${{" in command]


def test_the_wheel_is_tried_on_every_python_that_it_names() -> None:
    """The classifiers of the package, from the lowest that it admits."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r"Python :: (3\.\d+)\"", project)
    assert named == _workflow("release.yml")["jobs"]["wheel"]["strategy"]["matrix"]["python"]
