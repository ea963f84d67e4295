"""A store is its owner's alone: what others may have written is refused, or computed again."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.keys import RowsKey
from pytest_injectivity.store.ownership import is_ones_own, others_may_write
from pytest_injectivity.store.store import Store

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
)
SOMEBODY = 12345


def kept(folder: Path, value: int) -> int:
    """A number of a store: the one that is there, or else this one."""
    entry = Store(folder).entry("key", "code")
    found = entry.remember(RowsKey(1), lambda: value)
    entry.release()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with one number, 1."""
    folder = tmp_path / "store"
    assert 1 == kept(folder, 1) == kept(folder, 2)
    return folder


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Whatever is made is for everybody, unless its maker says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [0o777, 0o702, 0o1777])
def test_a_store_that_others_may_write_to_is_refused(folder: Path, mode: int) -> None:
    """Its numbers may be theirs; the store stays as it is, and the sentence says what to do."""
    folder.chmod(mode)
    said = (
        rf"store may be written to by others \(mode {mode:04o}\), and so .*: chmod 700 {folder} and"
    )
    with pytest.raises(OptionError, match=said):
        Store(folder)
    assert mode == stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o700)
    assert 1 == kept(folder, 2)


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o750])
def test_a_store_that_others_may_read_is_closed(folder: Path, mode: int) -> None:
    """States give prompts back; nobody can have written to it, so its numbers stay."""
    folder.chmod(mode)
    assert 1 == kept(folder, 2)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_a_store_that_others_may_replace_is_refused(folder: Path) -> None:
    """Whoever may write to the folder it lies in may put another one there; a sticky bit forbids it."""
    folder.parent.chmod(0o777)
    said = rf"store lies in {folder.parent}, where others may put another one .*: chmod go-w"
    with pytest.raises(OptionError, match=said):
        Store(folder)
    folder.parent.chmod(0o1777)
    assert 1 == kept(folder, 2)


def test_a_store_behind_a_link_is_looked_at_where_it_lies(folder: Path, tmp_path: Path) -> None:
    """A link to a folder on a larger disk is common."""
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "link"
    link.symlink_to(folder)
    assert 1 == kept(link, 2)
    tmp_path.chmod(0o777)
    with pytest.raises(OptionError, match=rf"link lies in {tmp_path}, where others"):
        Store(link)


def test_a_store_of_this_run_lies_where_the_system_says(folder: Path) -> None:
    """A folder of temporary files is the system's choice, and this one is new."""
    folder.parent.chmod(0o777)
    assert folder == Store(folder, temporary=True).folder


def test_a_store_that_is_opened_to_others_meanwhile_is_refused(folder: Path) -> None:
    """A long run opens entries again and again."""
    store = Store(folder)
    folder.chmod(0o777)
    with pytest.raises(OptionError, match="may be written to by others"):
        store.entry("key", "code")


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_an_empty_folder_of_ones_own_is_taken(tmp_path: Path, mode: int) -> None:
    """Nobody has put anything into it yet."""
    folder = tmp_path / "empty"
    folder.mkdir()
    folder.chmod(mode)
    assert 1 == kept(folder, 1)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_an_empty_folder_that_everybody_shares_is_not_taken(tmp_path: Path) -> None:
    """A folder like ``/tmp`` stays everybody's."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(OptionError, match="may be written to by others"):
        Store(folder)
    assert (0o1777, []) == (stat.S_IMODE(folder.stat().st_mode), list(folder.iterdir()))


def test_an_unfinished_store_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """Somebody else may have begun it."""
    (tmp_path / "entries" / "key").mkdir(parents=True)
    tmp_path.chmod(0o777)
    with pytest.raises(OptionError, match="may be written to by others"):
        Store(tmp_path)


@pytest.mark.usefixtures("no_umask")
def test_nothing_in_a_store_is_for_others_whatever_the_umask(tmp_path: Path) -> None:
    """Nor the folders above it that are made."""
    folder = tmp_path / "a" / "b" / "store"
    kept(folder, 1)
    made = [tmp_path / "a", *(tmp_path / "a").rglob("*")]
    assert 8 < len(made)
    assert [] == [path for path in made if path.stat().st_mode & 0o077]


@pytest.mark.parametrize("name", ["entries", "contents", "CACHEDIR.TAG", "store.lock"])
def test_a_link_in_the_place_of_a_part_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """By its name, and what it points to stays."""
    path, target = folder / name, tmp_path / "target"
    if path.exists():
        path.rename(target)
    else:
        target.mkdir()
    path.symlink_to(target)
    before = target.stat()
    with pytest.raises(OptionError, match=rf"{path} is a link, which no store makes: remove it"):
        Store(folder)
    assert before == target.stat()


@needs_root
@pytest.mark.parametrize("name", ["entries", "CACHEDIR.TAG"])
def test_a_part_of_another_owner_is_refused(folder: Path, name: str) -> None:
    """By its name and its owner's number."""
    os.chown(folder / name, SOMEBODY, -1)
    said = rf"{folder / name} belongs to another user \(uid {SOMEBODY}\): remove it"
    with pytest.raises(OptionError, match=said):
        Store(folder)


def numbers(folder: Path) -> Path:
    """The file of the one number of a store."""
    (found,) = (path for path in folder.glob("entries/*/numbers/*/*") if path.is_file())
    return found


def _linked(path: Path) -> None:
    moved = path.rename(path.parents[5] / "moved")
    path.symlink_to(moved)


def _given_away(path: Path) -> None:
    os.chown(path, SOMEBODY, -1)


def _opened(path: Path) -> None:
    path.chmod(0o666)


def _opened_above(path: Path) -> None:
    path.parent.chmod(0o777)


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil", [_linked, pytest.param(_given_away, marks=needs_root), _opened, _opened_above, _piped]
)
def test_an_entry_that_others_may_have_written_is_computed_again(
    folder: Path, spoil: "object"
) -> None:
    """As a damaged one is; checksums do not tell who wrote it."""
    assert callable(spoil)
    spoil(numbers(folder))
    assert 2 == kept(folder, 2) == kept(folder, 3)


def test_an_entry_that_is_a_link_is_removed_and_not_followed(folder: Path, tmp_path: Path) -> None:
    """What it points to is somebody's, and stays, its locks unlocked."""
    (tmp_path / "mine" / "users").mkdir(parents=True)
    thesis = tmp_path / "mine" / "users" / "thesis.lock"
    thesis.write_text("mine")
    (folder / "entries" / "other").symlink_to(tmp_path / "mine")
    Store(folder).entry("other", "code").release()
    assert not (folder / "entries" / "other").is_symlink()
    (folder / "entries" / "third").symlink_to(tmp_path / "mine")
    Store(folder).purge()
    assert ("mine", False) == (thesis.read_text(), folder.exists())


def test_locks_that_are_links_are_not_locked(folder: Path, tmp_path: Path) -> None:
    """Locking a file empties it."""
    thesis = tmp_path / "thesis"
    thesis.write_text("mine")
    (folder / "entries" / "key" / "users" / "a.lock").symlink_to(thesis)
    assert 2 == kept(folder, 2)
    assert "mine" == thesis.read_text()


def test_remembered_hashes_that_others_may_have_written_are_forgotten(folder: Path) -> None:
    """They would make one checkpoint pass for another."""
    record = folder / "contents" / "record"
    record.parent.mkdir()
    record.write_text("forged")
    record.chmod(0o666)
    Store(folder)
    assert not record.exists()


def test_a_group_without_other_members_is_no_other(tmp_path: Path) -> None:
    """Most systems give each user a group, and many make folders that it may write to."""
    os.chown(tmp_path, -1, os.geteuid())
    tmp_path.chmod(0o770)
    assert not others_may_write(tmp_path)
    assert is_ones_own(tmp_path)


@needs_root
def test_a_group_of_several_is_others(tmp_path: Path) -> None:
    """Any of them may write."""
    os.chown(tmp_path, -1, SOMEBODY)
    tmp_path.chmod(0o770)
    assert others_may_write(tmp_path)
    tmp_path.chmod(0o750)
    assert not others_may_write(tmp_path)
