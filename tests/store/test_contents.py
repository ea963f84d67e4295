"""The hash of a checkpoint's content, and how it is remembered."""

import os
from pathlib import Path

import pytest

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.store.contents import checkpoint_hash, hash_of
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder


class Reader:
    """Hashes what it is asked to, and notes the names of the files it has read.

    Attributes:
        read: the names, in order.
        settled_ns: how long a file must not have changed to be remembered; negative: always settled.
    """

    def __init__(self, remembered: Path, settled_ns: int = -(10**12)) -> None:
        self.remembered = remembered
        self.settled_ns = settled_ns
        self.read: list[str] = []

    def __call__(self, folder: Path) -> str:
        """The hash of a checkpoint; the names of the files read for it."""
        self.read.clear()
        return checkpoint_hash(folder, self.remembered, read=self._hash, settled_ns=self.settled_ns)

    def _hash(self, path: Path) -> str:
        self.read.append(path.name)
        return hash_of(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with a tokenizer."""
    decoder = tiny_decoder(vocab=256, tokenizer=byte_tokenizer())
    return save_checkpoint(decoder, tmp_path / "model")


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader to whom files just written count as settled."""
    return Reader(tmp_path / "m")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_every_file_of_a_checkpoint_counts(folder: Path, reader: Reader, name: str) -> None:
    """One byte of the weights, the configuration or the tokenizer, and it is another."""
    before = reader(folder)
    written = (folder / name).read_bytes()
    (folder / name).write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    assert before != reader(folder)
    (folder / name).write_bytes(written)
    assert before == reader(folder)


def test_what_says_nothing_does_not_count(folder: Path, reader: Reader) -> None:
    """Such as a README."""
    before = reader(folder)
    (folder / "README.md").write_text("says nothing")
    assert before == reader(folder)


def test_one_file_may_be_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    """Its neighbors do not count."""
    before = checkpoint_hash(folder, tmp_path / "m", "model.safetensors")
    (folder / "config.json").write_text("{}")
    assert before == checkpoint_hash(folder, tmp_path / "m", "model.safetensors")


def test_the_place_of_a_checkpoint_does_not_count(
    folder: Path, reader: Reader, tmp_path: Path
) -> None:
    """A copy has the same content."""
    before = reader(folder)
    assert before == reader(folder.rename(tmp_path / "elsewhere"))


def test_content_is_read_once(folder: Path, reader: Reader) -> None:
    """Afterwards size, inode and times say that a file is the same."""
    before = reader(folder)
    assert "model.safetensors" in reader.read
    assert before == reader(folder)
    assert [] == reader.read


@pytest.mark.parametrize("times", ["new", "kept"])
def test_a_file_that_changed_is_read_again(folder: Path, reader: Reader, times: str) -> None:
    """Also where it has the same size and somebody set its time back."""
    before = reader(folder)
    path = folder / "model.safetensors"
    status = path.stat()
    written = path.read_bytes()
    path.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    if times == "kept":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert before != reader(folder)
    assert ["model.safetensors"] == reader.read


def test_a_file_of_this_moment_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    """It may change again within the grain of its time."""
    reader = Reader(tmp_path / "m", settled_ns=10**12)
    reader(folder)
    reader(folder)
    assert "model.safetensors" in reader.read


def test_damaged_memory_is_not_believed(folder: Path, reader: Reader, tmp_path: Path) -> None:
    """Whichever byte is flipped: the content is read again, the hash is the same."""
    before = reader(folder)
    (one, *_) = sorted((tmp_path / "m").iterdir())
    written = one.read_bytes()
    assert written
    for at in range(len(written)):
        one.write_bytes(written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :])
        assert before == reader(folder)
        assert 1 == len(reader.read)


def test_a_file_that_cannot_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    """By its name."""

    def refuse(_path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(ModelError, match=r"config\.json cannot be read: Permission denied"):
        checkpoint_hash(folder, tmp_path / "m", read=refuse)


def test_memory_that_cannot_be_read_is_refused(
    folder: Path, reader: Reader, tmp_path: Path
) -> None:
    """A store is at fault then, and not the checkpoint."""
    reader(folder)
    (one, *_) = sorted((tmp_path / "m").iterdir())
    one.unlink()
    one.mkdir()
    with pytest.raises(OptionError, match=rf"{one.name} cannot be read \("):
        reader(folder)
