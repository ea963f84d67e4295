"""Writing of files whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity.core.files import check_writable, write_whole


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_text_or_a_path(kind: Callable[[Path], str | Path], tmp_path: Path) -> None:
    """Folders on the way are made."""
    path = tmp_path / "new" / "file.json"
    write_whole(kind(path), "text")
    assert "text" == path.read_text()


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_without_a_name_is_a_folder(path: str) -> None:
    """An error of the system, as of every other folder: callers expect those alone."""
    with pytest.raises(IsADirectoryError):
        write_whole(path, "text")
    with pytest.raises(IsADirectoryError):
        check_writable(path)


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    """A file in the place of /dev/null would fill the disk of everybody."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        write_whole(pipe, "text")
    assert pipe.is_fifo()


def test_a_file_that_can_be_written_is_not_touched_beforehand(tmp_path: Path) -> None:
    """Neither made nor changed, and no folder on the way is made."""
    old = tmp_path / "old.json"
    old.write_text("old")
    check_writable(old)
    check_writable(tmp_path / "new" / "folder" / "file.json")
    assert ["old"] == [one.read_text() for one in tmp_path.iterdir()]


@pytest.mark.parametrize("below", ["file.json", "new/folder/file.json"])
def test_a_file_that_cannot_be_written_is_refused_beforehand(below: str, tmp_path: Path) -> None:
    """The folder is named whose fault it is: the nearest that is there."""
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(NotADirectoryError) as refused:
        check_writable(tmp_path / "taken" / below)
    assert str(tmp_path / "taken") == refused.value.filename
    assert ["taken"] == [one.name for one in tmp_path.iterdir()]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """And no other file beside it."""
    path = tmp_path / "file.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert ["old"] == [one.read_text() for one in tmp_path.iterdir()]
