"""Writing of files whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity.core.files import write_whole


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


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """And no other file beside it."""
    path = tmp_path / "file.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert ["old"] == [one.read_text() for one in tmp_path.iterdir()]
