"""The folder of a store: whose it is, what it may hold, what goes when it is full."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.keys import RowsKey
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.store.store import Store

ACCEPTED = "give a folder of your own that is empty, new, or a store already"


def mode(path: Path) -> str:
    """The permissions of a path."""
    return oct(stat.S_IMODE(path.stat().st_mode))


def filled(store: Store, key: str, size: int, used: float) -> Entry:
    """An entry of about so many bytes, used at this time."""
    entry = store.entry(key, "code")
    (entry.folder / "filling").write_bytes(bytes(size))
    os.utime(entry.folder / "used", (used, used))
    return entry


def names(store: Store) -> set[str]:
    """The keys of the entries there are."""
    return {path.name for path in (store.folder / "entries").iterdir()}


@pytest.mark.parametrize("there", [False, True])
def test_a_store_is_its_owners_alone(tmp_path: Path, *, there: bool) -> None:
    """Its folder is made, with those above it, or an empty one is taken."""
    folder = tmp_path / "some" / "where"
    if there:
        folder.mkdir(parents=True, mode=0o755)
    entry = Store(folder).entry("key", "code")
    assert ("0o700", "0o700") == (mode(folder), mode(entry.folder))
    assert Store.is_at(folder)
    assert "pytest-injectivity purge" in (folder / "CACHEDIR.TAG").read_text()
    # Backup programs know a cache by these 43 bytes (bford.info/cachedir).
    signature = b"Signature: 8a477f597d28d172789f06886806bc55"
    assert (folder / "CACHEDIR.TAG").read_bytes().startswith(signature)
    Store(folder)


def test_a_file_is_refused(tmp_path: Path) -> None:
    """It stays as it is."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OptionError, match=f"file is a file: {ACCEPTED}"):
        Store(tmp_path / "file")
    with pytest.raises(OptionError, match=r"cannot be made \(Not a directory\): give"):
        Store(tmp_path / "file" / "below")
    assert "mine" == (tmp_path / "file").read_text()


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    """Nothing is added to it; hidden files count."""
    (tmp_path / ".thesis").write_text("mine")
    with pytest.raises(OptionError, match=r"is no store and holds other things \('\.thesis'\)"):
        Store(tmp_path)
    assert [".thesis"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("content", ["Signature: 8a477f597d28d172789f06886806bc55\n", ""])
def test_another_programs_cache_is_refused(tmp_path: Path, content: str) -> None:
    """Its mark begins as a store's does; nothing in it is changed, nor would purge remove it."""
    (tmp_path / "entries" / "thesis").mkdir(parents=True)
    (tmp_path / "CACHEDIR.TAG").write_text(content)
    with pytest.raises(OptionError, match=r"is no store and holds other things \('CACHEDIR\.TAG'"):
        Store(tmp_path)
    assert content == (tmp_path / "CACHEDIR.TAG").read_text()
    assert {"entries", "CACHEDIR.TAG"} == {path.name for path in tmp_path.iterdir()}


def test_a_store_that_was_not_finished_is_taken(tmp_path: Path) -> None:
    """A process may be killed while it makes one."""
    (tmp_path / "entries").mkdir()
    (tmp_path / "store.lock").touch()
    (tmp_path / ".new-0123").write_text("Signa")
    Store(tmp_path)
    assert Store.is_at(tmp_path)


def test_a_mark_that_cannot_be_read_is_no_missing_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a run nor for purge, which would call the folder no store."""
    Store(tmp_path)
    monkeypatch.setattr(Path, "read_text", _denied)
    said = r"CACHEDIR\.TAG cannot be read \(Permission denied\): make it readable"
    with pytest.raises(OptionError, match=said):
        Store.is_at(tmp_path)
    with pytest.raises(OptionError, match=said):
        Store(tmp_path)


def test_entries_that_cannot_be_listed_are_not_none(tmp_path: Path) -> None:
    """A file in the place of the entries' folder is no empty store."""
    store = Store(tmp_path)
    (tmp_path / "entries").rmdir()
    (tmp_path / "entries").write_text("no folder")
    said = r"entries cannot be read \(Not a directory\): make it readable"
    with pytest.raises(OptionError, match=said):
        _ = store.size
    with pytest.raises(OptionError, match=said):
        store.purge()


def test_a_number_that_cannot_be_read_is_not_computed_again(tmp_path: Path) -> None:
    """It is there; what is wrong is the store."""
    entry = Store(tmp_path).entry("key", "code")
    entry.remember(RowsKey(1), lambda: 1)
    (path,) = (path for path in entry.folder.rglob("numbers/*/*") if path.is_file())
    path.unlink()
    path.mkdir()
    with pytest.raises(OptionError, match=r"cannot be read \(Is a directory\)"):
        entry.remember(RowsKey(1), lambda: 2)


def test_bytes_that_cannot_be_counted_are_not_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit would not be kept."""
    store = Store(tmp_path)
    filled(store, "a", 1000, 1)
    assert 1000 <= store.size < 2000
    monkeypatch.setattr(os, "lstat", _denied)
    with pytest.raises(OptionError, match=r"cannot be read \(Permission denied\)"):
        _ = store.size


def _denied(*_args: object, **_kwargs: object) -> str:
    """What the system says to a user without the right; tests may run as root."""
    raise PermissionError(13, "Permission denied")


def test_a_store_that_others_put_a_file_into_is_one(tmp_path: Path) -> None:
    """The mark decides."""
    Store(tmp_path / "store")
    (tmp_path / "store" / "note.txt").write_text("mine")
    assert 0 == Store(tmp_path / "store").size


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its permissions: they could change what is in it."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(OptionError, match=r"belongs to another user \(uid \d+\): give a folder"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, with what is accepted."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OptionError, match=f"cannot be read and written to: {ACCEPTED}"):
        Store(tmp_path)


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    """As much as is needed, not more."""
    store = Store(tmp_path, limit=10_000)
    for used, key in enumerate("dcba"):
        filled(store, key, 2000, used).release()
    assert store.make_room(1000)
    assert set("abcd") == names(store)
    store.make_room(3000)
    assert set("abc") == names(store)
    store.make_room(6500)
    assert set("a") == names(store)
    store.make_room(10**6)
    assert set() == names(store)


def test_opening_an_entry_is_using_it(tmp_path: Path) -> None:
    """And so it goes last."""
    store = Store(tmp_path, limit=6000)
    for used, key in enumerate("ab"):
        filled(store, key, 2000, used).release()
    store.entry("a", "code").release()
    store.make_room(3000)
    assert set("a") == names(store)


def test_a_new_entry_makes_the_store_keep_its_limit(tmp_path: Path) -> None:
    """Numbers are written without asking for room; the next entry pays."""
    store = Store(tmp_path, limit=3000)
    filled(store, "a", 5000, 1).release()
    store.entry("b", "code")
    assert set("b") == names(store)


def test_an_entry_in_use_stays(tmp_path: Path) -> None:
    """However old and large it is, here and in another process."""
    store = Store(tmp_path, limit=100)
    entry = filled(store, "a", 5000, 1)
    filled(store, "b", 5000, 2).release()
    assert not store.make_room(100)
    Store(tmp_path, limit=1).make_room(100)
    assert set("a") == names(store)
    entry.release()
    store.make_room(100)
    assert set() == names(store)


def test_the_entry_of_a_dead_process_is_not_in_use(tmp_path: Path) -> None:
    """Its lock ended with it."""
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from pytest_injectivity.store.store import Store;"
        "entry = Store(Path(sys.argv[1])).entry('a', 'code');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)  # noqa: S603 - python itself
    assert list(tmp_path.rglob("users/*.lock"))
    store = Store(tmp_path, limit=1)
    store.make_room(10)
    assert set() == names(store)


def test_locks_of_the_dead_do_not_heap_up(tmp_path: Path) -> None:
    """Whoever opens an entry next removes them."""
    store = Store(tmp_path)
    entries = [store.entry("a", "code") for _ in range(3)]
    assert 3 == len(list(tmp_path.rglob("users/*.lock")))
    for entry in entries[:2]:
        entry.release()
    kept = store.entry("a", "code")
    assert 2 == len(list(tmp_path.rglob("users/*.lock")))
    del kept


def test_purging_leaves_nothing(tmp_path: Path) -> None:
    """Entries and sizes are counted; the folder goes with the last entry."""
    store = Store(tmp_path / "store")
    for key in "ab":
        filled(store, key, 1000, 1).release()
    (store.contents).mkdir()
    removed = store.purge()
    assert (2, 0) == (removed.entries, removed.in_use)
    assert 2000 <= removed.size < 3000
    assert [] == list(tmp_path.iterdir())


def test_purging_leaves_what_is_in_use_and_what_is_not_ours(tmp_path: Path) -> None:
    """A run that is going on keeps its rows; a file that somebody put there stays."""
    store = Store(tmp_path)
    entry = filled(store, "a", 10, 1)
    filled(store, "b", 10, 2).release()
    (tmp_path / "note.txt").write_text("mine")
    removed = store.purge()
    assert (1, 1) == (removed.entries, removed.in_use)
    assert set("a") == names(store)
    entry.release()
    Store(tmp_path).purge()
    assert ["note.txt"] == [path.name for path in tmp_path.iterdir()]


def test_a_store_that_was_purged_meanwhile_is_made_again(tmp_path: Path) -> None:
    """By the audit that had not used it yet, as its owner's alone; it is a store to the next one."""
    folder = tmp_path / "store"
    store = Store(folder)
    Store(folder).purge()
    assert not folder.exists()
    assert 1 == store.entry("a", "code").remember(RowsKey(1), lambda: 1)
    assert "0o700" == mode(folder)
    Store(folder)
    assert Store.is_at(folder)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """What a link in a store points to is not the store's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("text")
    store = Store(tmp_path / "store")
    entry = filled(store, "a", 10, 1)
    (entry.folder / "link").symlink_to(tmp_path / "mine")
    entry.release()
    store.purge()
    assert "text" == (tmp_path / "mine" / "thesis").read_text()
