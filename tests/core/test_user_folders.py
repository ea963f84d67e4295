"""Where caches of a user lie, and users that have no such place."""

import os
from pathlib import Path

import pytest

from pytest_injectivity.core.user_folders import cache_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="HOME and XDG are of POSIX systems")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


@pytest.mark.parametrize("given", [None, "", "  "])
def test_caches_lie_in_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """Also where the variable that names another place is empty; nothing is made."""
    if given is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert home / ".cache" / "name" == cache_folder("name")
    assert [] == list(home.iterdir())


@pytest.mark.parametrize("absent", ["", "relative", "/does/not/exist", "~"])
def test_a_home_that_does_not_exist_has_no_caches(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    """It is not made, nor are folders in the root or wherever one stands."""
    monkeypatch.setenv("HOME", absent)
    assert cache_folder("name") is None


def test_a_place_that_is_named_needs_no_home(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable names a folder outside of the home; the folder need not exist."""
    monkeypatch.setenv("HOME", "/does/not/exist")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert home / "new" / "name" == cache_folder("name")


def test_a_relative_place_is_not_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard says that it is to be ignored; old versions of platformdirs take it."""
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    assert cache_folder("name") in {home / ".cache" / "name", None}


def test_no_home_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of whom the system knows nothing, as in containers that run under any number."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder("name") is None


def test_a_home_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is on a disk mounted to be read only."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cache_folder("name") is None
