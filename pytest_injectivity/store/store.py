"""A folder that keeps captured rows and finished numbers between runs, up to a size.

States give prompts back (that is what this package shows), so a store is as sensitive as the prompts
it was made from: it is readable by its owner only, and `Store.purge` empties it. No text and no token
id of a prompt is written to it, apart from the prompts of ``builtin:stdlib``, which everybody has, and
the tokens of the closest continuations.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pytest_injectivity.core.files import make_private, owners_alone
from pytest_injectivity.errors import OptionError
from pytest_injectivity.store.entry import Entry, Waiting, in_use, lock_at
from pytest_injectivity.store.journal import Journal
from pytest_injectivity.store.ownership import (
    below,
    is_everybodys,
    is_ones_own,
    mode,
    open_to_others,
    others_may_write,
    owner_of_another,
    refuse_replaceable,
)
from pytest_injectivity.store.records import TEMPORARY, listed, unreadable, writing

# The first line is what backup programs look for (https://bford.info/cachedir/).
_MARK = "CACHEDIR.TAG"
_MARKED = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# A store of pytest-injectivity: hidden states, as sensitive as the prompts they come from.\n"
    "# pytest-injectivity purge --cache-dir THIS_FOLDER empties it.\n"
)
_LOCK = "store.lock"
_OWN = ("entries", "contents", _MARK, _LOCK)


@dataclass(frozen=True)
class Removed:
    """What was removed from a store.

    Attributes:
        entries: how many.
        size: their bytes.
        in_use: entries left because a process uses them.
    """

    entries: int
    size: int
    in_use: int


class Store:
    """A folder of entries, each under its key.

    Args:
        folder: of the store; made where there is none.
        limit: bytes it may hold, or None for no limit; entries used least recently go first, those
            in use never.
        journal: of this process.
        waiting: entered while another process is waited for.
        temporary: the folder is of this run alone; where it lies is the system's choice.

    Raises:
        OptionError: the folder is a file, is somebody else's, cannot be read and written, holds other
            things than a store, or others may write to it or put another one in its place.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit: int | None = None,
        journal: Journal | None = None,
        waiting: Waiting = nullcontext,
        temporary: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.limit = limit
        self.journal = journal or Journal()
        self.temporary = temporary
        self._waiting = waiting
        self._open()

    @classmethod
    def is_at(cls, folder: Path) -> bool:
        """Whether a folder is a store.

        Raises:
            OptionError: the file that says so cannot be read.
        """
        mark = folder / _MARK
        try:
            return mark.is_file() and mark.read_text(encoding="utf-8") == _MARKED
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeDecodeError):
            return False
        except OSError as error:
            raise unreadable(mark, error) from error

    @property
    def contents(self) -> Path:
        """Where hashes of checkpoint files are remembered."""
        return self.folder / "contents"

    def entry(self, name: str, code: str) -> Entry:
        """The entry of a name, made where there is none, in use from now on.

        Args:
            name: the digest of a key that holds everything its rows depend on (see `keys`).
            code: of what computes its numbers.
        """
        folder = self._entries / name
        with self._locked():
            if not folder.exists():
                self._evict(0)
            with writing(folder):
                if not is_ones_own(folder):
                    _discard(folder)
                make_private(folder)
                in_use(folder)  # forgets processes that are no more
            return Entry(folder, code, self.journal, self._waiting)

    def make_room(self, needed: int) -> bool:
        """Remove the entries used least recently until so many bytes more fit.

        Returns:
            Whether they do; entries in use stay.
        """
        with self._locked():
            return self._evict(needed)

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(map(_size, self._entry_folders()))

    def purge(self) -> Removed:
        """Remove every entry that no process uses, and with the last one the folder.

        What else somebody put into the folder is left, and the folder with it.
        """
        with self._locked(), writing(self.folder):
            removed = self._remove(self._entry_folders(), lambda _size: True)
            if not removed.in_use:
                for name in _OWN:
                    _discard(self.folder / name)
        if not removed.in_use and not any(self.folder.iterdir()):
            self.folder.rmdir()
        return removed

    @property
    def _entries(self) -> Path:
        return self.folder / "entries"

    def _open(self) -> None:
        accepted = "give a folder of your own that is empty, new, or a store already"
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise OptionError(f"{self._given} is a file: {accepted}")
            make_private(self.folder)
            owner = self.folder.stat().st_uid
        except OSError as error:
            raise OptionError(
                f"{self._given} cannot be made ({error.strerror}): {accepted}"
            ) from error
        if hasattr(os, "geteuid") and owner != os.geteuid():
            raise OptionError(f"{self._given} belongs to another user (uid {owner}): {accepted}")
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise OptionError(f"{self._given} cannot be read and written to: {accepted}")
        if not self.is_at(self.folder):
            if others := self._others():
                raise OptionError(
                    f"{self._given} is no store and holds other things ({others[0]!r:.40}): {accepted}"
                )
            if not listed(self.folder) and not is_everybodys(self.folder):
                self.folder.chmod(0o700)
            self._begin()
        self._close_to_others()

    @property
    def _given(self) -> str:
        return f"--injx-cache-dir: {self.folder}"

    def _close_to_others(self) -> None:
        """Lets nobody else read the store; refuses one whose numbers somebody else may have written."""
        if not self.temporary:
            refuse_replaceable(self._given, self.folder)
        if others_may_write(self.folder):
            raise OptionError(
                f"{self._given} may be written to by others (mode {mode(self.folder)}), and so its"
                f" numbers may be theirs: chmod 700 {self.folder} and empty it (pytest-injectivity"
                " purge), or give another folder"
            )
        for name in _OWN:
            path = self.folder / name
            if path.is_symlink():
                raise OptionError(f"{path} is a link, which no store makes: remove it")
            if path.exists() and (owner := owner_of_another(path)) is not None:
                raise OptionError(f"{path} belongs to another user (uid {owner}): remove it")
        with writing(self.folder):
            if open_to_others(self.folder):
                self.folder.chmod(0o700)
            if not is_ones_own(self.contents):
                _discard(self.contents)

    def _others(self) -> list[str]:
        """The names in a folder without a store's mark that are not those of an unfinished store."""
        names = [path.name for path in listed(self.folder)]
        others = [one for one in names if one not in _OWN and not one.startswith(TEMPORARY)]
        # Another process may have finished the mark meanwhile.
        foreign = _MARK in names and not self.is_at(self.folder)
        return [_MARK, *others] if foreign else others

    def _begin(self) -> None:
        with self._locked(), writing(self.folder):
            if not self.is_at(self.folder):
                make_private(self._entries)
                # Whole or not at all: half a mark would be somebody else's.
                temporary = self.folder / f"{TEMPORARY}{secrets.token_hex(8)}"
                with open(temporary, "x", encoding="utf-8", opener=owners_alone) as file:
                    file.write(_MARKED)
                temporary.replace(self.folder / _MARK)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with writing(self.folder):
            # Somebody may have purged it since.
            make_private(self.folder)
            self._close_to_others()
            lock = lock_at(self.folder / _LOCK)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _entry_folders(self) -> list[Path]:
        """The entries, least recently used first."""
        return sorted(listed(self._entries), key=_last_used)

    def _evict(self, needed: int) -> bool:
        if self.limit is None:
            return True
        over = self.size + needed - self.limit
        return (
            over <= 0 or self._remove(self._entry_folders(), lambda gone: gone < over).size >= over
        )

    def _remove(self, folders: Iterable[Path], more: Callable[[int], bool]) -> Removed:
        """Remove entries in this order as long as ``more`` of the bytes gone says so."""
        entries = gone = left = 0
        for folder in folders:
            if not more(gone):
                break
            size = _size(folder)
            with writing(folder):
                if in_use(folder):
                    left += 1
                    continue
                _discard(folder)
            entries, gone = entries + 1, gone + size
        return Removed(entries, gone, left)


def _discard(path: Path) -> None:
    """Remove a file, a link or a folder; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _last_used(folder: Path) -> float:
    try:
        return (folder / "used").stat().st_mtime
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise unreadable(folder, error) from error


def _size(folder: Path) -> int:
    return sum(one.st_size for one in below(folder) if not stat.S_ISDIR(one.st_mode))
