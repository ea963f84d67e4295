"""The commit that a folder is at, read without git, as a repository's settings may name programs."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

# GitHub and Gitea, GitLab and Woodpecker, Azure, Bitbucket, Buildkite, CircleCI, Drone, Jenkins, Travis.
VARIABLES = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILD_SOURCEVERSION",
    "BITBUCKET_COMMIT",
    "BUILDKITE_COMMIT",
    "CIRCLE_SHA1",
    "DRONE_COMMIT_SHA",
    "GIT_COMMIT",
    "TRAVIS_COMMIT",
)
"""The environment variables in which services that run jobs name the commit."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REFERENCE = re.compile(r"ref: (refs/[\w/@+.-]{1,200})", re.ASCII)
_PLACE = re.compile(r"gitdir: (.+)")
_LARGEST = 2**24


def is_commit(text: str) -> bool:
    """Whether a text is the full name of a commit."""
    return bool(_COMMIT.fullmatch(text))


def commit_of(folder: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    """The commit that a job runs on, as its service says, or that a folder's checkout is at.

    Args:
        folder: in a checkout, or not.
        environment: variables by name.

    Returns:
        Its hexadecimal name; None where there is none, or where it cannot be read.
    """
    named = [environment.get(one, "").strip().lower() for one in VARIABLES]
    return next((one for one in named if is_commit(one)), None) or _checked_out(folder)


def _checked_out(folder: Path) -> str | None:
    try:
        for parent in (folder.resolve(), *folder.resolve().parents):
            if (parent / ".git").exists():
                return _head(_git_folder(parent))
    except (OSError, ValueError):  # not to be read, or a path with a NUL
        return None
    return None


def _git_folder(checkout: Path) -> Path:
    """Where the repository is: of a worktree or a submodule a file says so."""
    place = checkout / ".git"
    found = None if place.is_dir() else _PLACE.fullmatch(_text(place))
    return checkout / found[1] if found else place


def _head(git: Path) -> str | None:
    head = _text(git / "HEAD")
    reference = _REFERENCE.fullmatch(head)
    if reference is None:
        return head if is_commit(head) else None
    name = reference[1]
    if ".." in name:
        return None
    common = _text(git / "commondir")  # worktrees share their branches
    folders = (git, git / common) if common else (git,)
    return next((one for place in folders for one in _commits(place, name)), None)


def _commits(git: Path, name: str) -> Iterator[str]:
    """The commit of a branch, in a file of its own or among the packed ones."""
    if is_commit(own := _text(git / name)):
        yield own
    for line in _text(git / "packed-refs").split("\n"):
        commit, _, packed = line.partition(" ")
        if packed == name and is_commit(commit):
            yield commit


def _text(path: Path) -> str:
    """What a file says; empty where there is none, or where it is too large to be of git."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    return path.read_text(encoding="utf-8", errors="replace").strip()
