"""Whose the files of a store are, and who may change them.

Numbers of a store become verdicts and its rows are written in place, so only its owner may write to it.
Checksums do not help: whoever may write a record may write its checksum.

On systems without POSIX's users and modes nothing is looked at.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pytest_injectivity.errors import OptionError
from pytest_injectivity.store.records import unreadable

_POSIX = hasattr(os, "geteuid")
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def owner_of_another(path: Path) -> int | None:
    """The user that a path belongs to where that is not this one; a link counts as itself."""
    owner = path.lstat().st_uid
    return owner if _POSIX and owner != os.geteuid() else None


def open_to_others(folder: Path) -> bool:
    """Whether its mode lets anybody but the owner read, write or enter a folder."""
    return _POSIX and bool(folder.stat().st_mode & _OPEN_TO_OTHERS)


def others_may_write(folder: Path) -> bool:
    """Whether another user may put a file into a folder, or take one away."""
    return _POSIX and _writable(folder.stat())


def is_everybodys(folder: Path) -> bool:
    """Whether a folder is shared by all users, who do not touch each other's files, as ``/tmp`` is."""
    return bool(folder.stat().st_mode & stat.S_ISVTX)


def others_may_replace(path: Path) -> bool:
    """Whether another user may put something else in the place of a path.

    In a folder with the sticky bit, such as ``/tmp``, only its owner may.
    """
    parent = path.resolve().parent.stat()
    return _POSIX and _writable(parent) and not parent.st_mode & stat.S_ISVTX


def mode(folder: Path) -> str:
    """The mode of a folder, as ``chmod`` takes it."""
    return f"{stat.S_IMODE(folder.stat().st_mode):04o}"


def is_ones_own(folder: Path) -> bool:
    """Whether a folder and all in it are this user's: no link, no other owner, nothing others may write.

    Raises:
        OptionError: it cannot be read.
    """
    return all(map(_is_ones_own, below(folder)))


def _is_ones_own(status: os.stat_result) -> bool:
    plain = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
    return plain and not (_POSIX and (status.st_uid != os.geteuid() or _writable(status)))


def below(folder: Path) -> Iterator[os.stat_result]:
    """The status of a folder and of all below it; links are not followed.

    A store has thousands of files and is gone through often: its paths stay texts.

    Raises:
        OptionError: something cannot be read.
    """
    pending = [os.fspath(folder)]
    while pending:
        path = pending.pop()
        try:
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                pending += [os.path.join(path, name) for name in os.listdir(path)]  # noqa: PTH118, PTH208 - as above
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError as error:
            raise unreadable(Path(path), error) from error
        yield status


def _writable(status: os.stat_result) -> bool:
    by_group = status.st_mode & stat.S_IWGRP and not _is_ones_own_group(status.st_gid)
    return bool(status.st_mode & stat.S_IWOTH or by_group)


def _is_ones_own_group(group: int) -> bool:
    """Whether a group has no other member: a user's private one, as most systems make for each user.

    Also root's, which containers give to their only user.
    """
    import grp
    import pwd

    user = os.geteuid()
    if group == 0:
        return True
    if group != user:
        return False
    try:
        members = set(grp.getgrgid(group).gr_mem)
        return members <= {pwd.getpwuid(user).pw_name}
    except KeyError:
        return True  # neither has a name, and a group without an entry has no members


def refuse_replaceable(given: str, folder: Path) -> None:
    """Refuses a folder that another user may put another one in the place of.

    Args:
        given: names the folder and where it was given; it begins the message.
        folder: the folder.
    """
    if others_may_replace(folder):
        parent = folder.resolve().parent
        raise OptionError(
            f"{given} lies in {parent}, where others may put another one in its place (mode"
            f" {mode(parent)}): chmod go-w {parent}, or give a folder elsewhere"
        )
