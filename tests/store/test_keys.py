"""What a store's keys are made of."""

import os
from pathlib import Path

import pytest
import torch

from pytest_injectivity.errors import ModelError
from pytest_injectivity.store import keys as identity
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with a tokenizer."""
    decoder = tiny_decoder(vocab=256, tokenizer=byte_tokenizer())
    return save_checkpoint(decoder, tmp_path / "model")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files whose content is read; files just written count as settled."""
    monkeypatch.setattr(identity, "_SETTLED_NS", -(10**12))
    read: list[str] = []
    digest = identity.hashlib.file_digest

    def counting(file: object, name: str) -> object:
        read.append(Path(file.name).name)  # type: ignore[attr-defined]
        return digest(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(identity.hashlib, "file_digest", counting)
    return read


def test_a_key_has_all_its_parts() -> None:
    """Other values and other names are other keys; the order of the names is not."""
    one = identity.key(a=1, b=["x"])
    assert one == identity.key(b=["x"], a=1)
    others = [identity.key(a=2, b=["x"]), identity.key(a=1, b="x"), identity.key(a=1, c=["x"])]
    assert 4 == len({one, *others})


def test_every_file_of_a_checkpoint_counts(folder: Path, tmp_path: Path) -> None:
    """One byte of the weights, the configuration or the tokenizer, and it is another."""
    before = identity.checkpoint(folder, tmp_path / "m")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        path = folder / name
        written = path.read_bytes()
        path.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
        assert before != identity.checkpoint(folder, tmp_path / "m")
        path.write_bytes(written)
    (folder / "README.md").write_text("says nothing")
    assert before == identity.checkpoint(folder, tmp_path / "m")


def test_the_place_of_a_checkpoint_does_not_count(folder: Path, tmp_path: Path) -> None:
    """A copy has the same content."""
    before = identity.checkpoint(folder, tmp_path / "m")
    assert before == identity.checkpoint(folder.rename(tmp_path / "elsewhere"), tmp_path / "m")


def test_content_is_read_once(folder: Path, tmp_path: Path, counted: list[str]) -> None:
    """Afterwards size, inode and times say that a file is the same."""
    before = identity.checkpoint(folder, tmp_path / "m")
    assert "model.safetensors" in counted
    counted.clear()
    assert before == identity.checkpoint(folder, tmp_path / "m")
    assert [] == counted


@pytest.mark.parametrize("times", ["new", "kept"])
def test_a_file_that_changed_is_read_again(
    folder: Path, tmp_path: Path, counted: list[str], times: str
) -> None:
    """Also where it has the same size and somebody set its time back."""
    before = identity.checkpoint(folder, tmp_path / "m")
    counted.clear()
    path = folder / "model.safetensors"
    status = path.stat()
    written = path.read_bytes()
    path.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    if times == "kept":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert before != identity.checkpoint(folder, tmp_path / "m")
    assert ["model.safetensors"] == counted


def test_a_file_of_this_moment_is_not_remembered(
    folder: Path, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change again within the grain of its time."""
    monkeypatch.setattr(identity, "_SETTLED_NS", 10**12)
    identity.checkpoint(folder, tmp_path / "m")
    counted.clear()
    identity.checkpoint(folder, tmp_path / "m")
    assert "model.safetensors" in counted


def test_damaged_memory_is_not_believed(folder: Path, tmp_path: Path, counted: list[str]) -> None:
    """Every byte of it: the content is read again, the key is the same."""
    before = identity.checkpoint(folder, tmp_path / "m")
    (one, *_) = sorted((tmp_path / "m").iterdir())
    written = one.read_bytes()
    for at in range(len(written)):
        one.write_bytes(written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :])
        counted.clear()
        assert before == identity.checkpoint(folder, tmp_path / "m")
        assert 1 == len(counted)


def test_a_file_that_cannot_be_read_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name."""

    def refuse(_path: Path) -> list[int]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(identity, "_seen", refuse)
    with pytest.raises(ModelError, match=r"config\.json cannot be read: Permission denied"):
        identity.checkpoint(folder, tmp_path / "m")


def test_code_is_that_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed line of a room is other code for that room and for the whole, not for others."""
    for name in ("models/a.py", "states/b.py", "c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(identity, "_PACKAGE", tmp_path)

    def codes() -> list[str]:
        identity.code.cache_clear()
        return [identity.code(), identity.code("models"), identity.code("c.py")]

    try:
        before = codes()
        (tmp_path / "models/a.py").write_text("x = 2\n")
        whole, models, c = codes()
    finally:
        identity.code.cache_clear()
    assert (True, True, False) == (whole != before[0], models != before[1], c != before[2])


def test_the_machine_is_its_settings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a product round otherwise is another machine; the threads are not."""
    cpu = torch.device("cpu")
    before = identity.machine(cpu)
    torch.set_num_threads(torch.get_num_threads())
    assert before == identity.machine(cpu)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NO AVX")
    assert before != identity.machine(cpu)
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", not torch.backends.mkldnn.enabled)
    assert before != identity.machine(cpu)
    monkeypatch.undo()
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    assert before == identity.machine(cpu)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert before != identity.machine(cpu)


def test_the_order_of_prompts_counts() -> None:
    """Row i is prompt i."""
    assert identity.in_order(["a", "b"]) != identity.in_order(["b", "a"])
