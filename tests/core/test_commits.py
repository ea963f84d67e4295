from pathlib import Path

import pytest

from pytest_injectivity.core.commits import VARIABLES, commit_of

ONE, OTHER = "0123456789" * 4, "fedcba9876" * 4


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in a checkout whose branch is at `ONE`."""
    git = tmp_path / "project" / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text(f"{ONE}\n")
    folder = tmp_path / "project" / "tests"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_service_says_the_commit(checkout: Path, variable: str) -> None:
    """What runs the job knows it; the checkout may be a merge of its own."""
    assert OTHER == commit_of(checkout, {variable: OTHER})


@pytest.mark.parametrize("text", ["", " ", "main", ONE[:39], f"{ONE[:39]}g", "$(whoami)"])
def test_what_is_no_commit_is_not_taken_for_one(checkout: Path, text: str) -> None:
    """The checkout is asked instead."""
    assert ONE == commit_of(checkout, {"GITHUB_SHA": text})


def test_a_branch_may_be_packed(checkout: Path) -> None:
    """Its own file counts before."""
    git = checkout.parent / ".git"
    (git / "packed-refs").write_text(f"# pack-refs\n{OTHER} refs/heads/main\n^{ONE}\n")
    assert ONE == commit_of(checkout, {})
    (git / "refs" / "heads" / "main").unlink()
    assert OTHER == commit_of(checkout, {})


def test_a_detached_head_is_a_commit(checkout: Path) -> None:
    """As most services check out."""
    (checkout.parent / ".git" / "HEAD").write_text(f"{OTHER}\n")
    assert OTHER == commit_of(checkout, {})


def test_a_worktree_has_the_branches_of_its_repository(checkout: Path, tmp_path: Path) -> None:
    """A file names its folder, which names the common one."""
    git = checkout.parent / ".git"
    own = git / "worktrees" / "mine"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/mine\n")
    (own / "commondir").write_text("../..\n")
    (git / "refs" / "heads" / "mine").write_text(f"{OTHER}\n")
    worktree = tmp_path / "worktree"
    worktree.mkdir()
    (worktree / ".git").write_text(f"gitdir: {own}\n")
    assert OTHER == commit_of(worktree, {})


@pytest.mark.parametrize(
    "head",
    [
        "",
        "ref: refs/heads/none",
        "ref: ../../secret",
        "ref: refs/../../secret",
        "ref: refs/heads/\0",
    ],
)
def test_a_head_that_says_nothing_is_no_commit(checkout: Path, head: str) -> None:
    """Nothing beside the repository is read."""
    (checkout.parent / ".git" / "HEAD").write_text(head)
    (checkout.parent / "secret").write_text(OTHER)
    (checkout.parent.parent / "secret").write_text(OTHER)
    assert commit_of(checkout, {}) is None


def test_a_folder_without_a_repository_has_no_commit(tmp_path: Path) -> None:
    """Unless a folder above it is one."""
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert commit_of(tmp_path, {}) is None
