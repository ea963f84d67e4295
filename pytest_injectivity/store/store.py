"""A folder that keeps captured rows and finished numbers between runs, up to a size.

States give prompts back (that is what this package shows), so a store is as sensitive as the prompts
it was made from: it is readable by its owner only, and `Store.purge` empties it. No text and no token
id of a prompt is written to it, apart from the prompts of ``builtin:stdlib``, which everybody has, and
the tokens of the closest continuations.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pytest_injectivity.errors import OptionError
from pytest_injectivity.store.entry import Entry, Waiting, in_use
from pytest_injectivity.store.journal import Journal
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

    Raises:
        OptionError: the folder is a file, is somebody else's, cannot be read and written, or holds
            other things than a store.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit: int | None = None,
        journal: Journal | None = None,
        waiting: Waiting = nullcontext,
    ) -> None:
        self.folder = folder.absolute()
        self.limit = limit
        self.journal = journal or Journal()
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
            return mark.read_text(encoding="utf-8") == _MARKED
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
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                in_use(folder)  # forgets processes that are no more
            return Entry(folder, code, self.journal, self._waiting)

    def make_room(self, needed: int) -> bool:
        """Remove the entries used least recently until so many bytes more fit.

        Returns:
            Whether they do; entries in use stay.
        """
        with self._locked():
            self._evict(needed)
            return self.limit is None or self.size + needed <= self.limit

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
                    path = self.folder / name
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if not removed.in_use and not any(self.folder.iterdir()):
            self.folder.rmdir()
        return removed

    @property
    def _entries(self) -> Path:
        return self.folder / "entries"

    def _open(self) -> None:
        given = f"--injx-cache-dir: {self.folder}"
        accepted = "give a folder of your own that is empty, new, or a store already"
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise OptionError(f"{given} is a file: {accepted}")
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = self.folder.stat().st_uid
        except OSError as error:
            raise OptionError(f"{given} cannot be made ({error.strerror}): {accepted}") from error
        if hasattr(os, "geteuid") and owner != os.geteuid():
            raise OptionError(f"{given} belongs to another user (uid {owner}): {accepted}")
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise OptionError(f"{given} cannot be read and written to: {accepted}")
        if not self.is_at(self.folder):
            if others := self._others():
                raise OptionError(
                    f"{given} is no store and holds other things ({others[0]!r:.40}): {accepted}"
                )
            self._begin()

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
                self.folder.chmod(0o700)
                self._entries.mkdir(mode=0o700, exist_ok=True)
                # Whole or not at all: half a mark would be somebody else's.
                temporary = self.folder / f"{TEMPORARY}{secrets.token_hex(8)}"
                temporary.write_text(_MARKED, encoding="utf-8")
                temporary.replace(self.folder / _MARK)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with writing(self.folder):
            # Somebody may have purged it since.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _entry_folders(self) -> list[Path]:
        """The entries, least recently used first."""
        return sorted(listed(self._entries), key=_last_used)

    def _evict(self, needed: int) -> None:
        if self.limit is None:
            return
        over = self.size + needed - self.limit
        self._remove(self._entry_folders(), lambda gone: gone < over)

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
                shutil.rmtree(folder)
            entries, gone = entries + 1, gone + size
        return Removed(entries, gone, left)


def _last_used(folder: Path) -> float:
    try:
        return (folder / "used").stat().st_mtime
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise unreadable(folder, error) from error


def _size(folder: Path) -> int:
    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # removed meanwhile
            raise unreadable(folder, error) from error

    size = 0
    for parent, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            try:
                size += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                continue  # renamed meanwhile
            except OSError as error:
                raise unreadable(Path(parent) / name, error) from error
    return size
