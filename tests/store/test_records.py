"""Records: whole or nothing, and only where they belong."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import OptionError
from pytest_injectivity.store.records import left_behind, listed, read_record, write_record


@given(content=st.binary(max_size=200), subject=st.text(max_size=20))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, subject: str
) -> None:
    """Any bytes under any name, in a folder that did not exist."""
    path = tmp_path_factory.mktemp("records") / "new" / "one"
    write_record(path, subject, content)
    assert content == read_record(path, subject)


@pytest.mark.parametrize("lasting", [False, True])
def test_every_flipped_bit_is_noticed(tmp_path: Path, *, lasting: bool) -> None:
    """In the checksum as in the content."""
    path = tmp_path / "one"
    write_record(path, "a subject", b"some content", lasting=lasting)
    written = path.read_bytes()
    assert b"some content" in written
    for at in range(len(written)):
        for bit in range(8):
            damaged = bytearray(written)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            assert read_record(path, "a subject") is None


def test_a_record_that_is_not_there_is_none(tmp_path: Path) -> None:
    """Nor is one in a folder that is not there."""
    assert read_record(tmp_path / "none", "a subject") is None
    assert read_record(tmp_path / "no" / "folder", "a subject") is None


def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """It is there, so it must not be taken for none."""
    (tmp_path / "one").mkdir()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        OptionError, match=r"one cannot be read \(Is a directory\): make it readable"
    ):
        read_record(tmp_path / "one", "a subject")
    with pytest.raises(OptionError, match=r"cannot be read \(Not a directory\)"):
        read_record(tmp_path / "file" / "two", "a subject")


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    """One that is not there holds nothing; a file in its place is an error."""
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert [tmp_path / "a", tmp_path / "b"] == listed(tmp_path)
    assert [] == listed(tmp_path / "none")
    with pytest.raises(OptionError, match=r"a cannot be read \(Not a directory\)"):
        listed(tmp_path / "a")


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda _: b""])
def test_another_length_is_noticed(tmp_path: Path, change: object) -> None:
    """Cut, lengthened, emptied."""
    path = tmp_path / "one"
    write_record(path, "a subject", b"some content")
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    assert read_record(path, "a subject") is None


def test_a_record_of_something_else_is_none(tmp_path: Path) -> None:
    """One that was moved to another's place is sound, and not what is asked for."""
    write_record(tmp_path / "one", "one", b"1")
    (tmp_path / "one").rename(tmp_path / "two")
    assert read_record(tmp_path / "two", "two") is None
    assert read_record(tmp_path / "none", "none") is None


def test_a_writer_that_fails_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no temporary file."""
    path = tmp_path / "one"
    write_record(path, "one", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OptionError, match=r"cannot be written \(No space left on device\): give"):
        write_record(path, "one", b"new", lasting=True)
    assert b"old" == read_record(path, "one")
    assert ["one"] == [one.name for one in tmp_path.iterdir()]
    assert [] == list(left_behind(tmp_path))
