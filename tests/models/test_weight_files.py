import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.weight_files import INDEX, WEIGHTS, read_weight_files
from pytest_injectivity.testing import save_checkpoint, tiny_decoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tiny_decoder(), tmp_path / "checkpoint")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_a_pickle_is_refused_by_name_and_never_opened(folder: Path, name: str) -> None:
    """A folder whose only weights would be unpickled is refused."""
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match=rf"{name} would be unpickled.*safetensors are accepted"):
        read_weight_files(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.gguf", r"holds \.gguf files"), ("x.safetensors", "has no weights"), ("x", "has no weigh")],
)
def test_a_folder_without_weights_is_refused(folder: Path, name: str, message: str) -> None:
    """The message says which files are accepted."""
    (folder / WEIGHTS).rename(folder / name)
    with pytest.raises(ModelError, match=message):
        read_weight_files(folder)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 2000, -1])
def test_a_truncated_file_is_refused(folder: Path, kept: int) -> None:
    """Cut anywhere, in the header or the data, the file is named before it is loaded."""
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=rf"{path} is no complete safetensors file"):
        read_weight_files(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"\0",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"\xff" + data[9:],
        lambda data: data[:8] + b"[" + b" " * (len(data) - 10) + b"]",
        lambda data: (15).to_bytes(8, "little") + b'{"a": {"b": 1}}'[:15] + data[:0],
    ],
    ids=["too long", "huge header", "no JSON", "no object", "no offsets"],
)
def test_a_corrupt_file_is_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    """What is not a header, or contradicts the size, is named."""
    path = folder / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=rf"{path} is no complete safetensors file"):
        read_weight_files(folder)


def _shard(folder: Path, weight_map: Any) -> None:
    (folder / WEIGHTS).rename(folder / "one.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_every_shard_is_checked(folder: Path) -> None:
    """A missing shard and a truncated one are named."""
    _shard(folder, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(ModelError, match=r"two\.safetensors is missing"):
        read_weight_files(folder)
    (folder / "two.safetensors").write_bytes(b"\x01")
    with pytest.raises(ModelError, match=r"two\.safetensors is no complete"):
        read_weight_files(folder)
    (folder / "two.safetensors").unlink()
    save_file({}, folder / "two.safetensors")
    read_weight_files(folder)


@pytest.mark.parametrize("weight_map", [None, {}, {"a": "../one"}, {"a": "/etc/passwd"}, {"a": ""}])
def test_an_index_names_files_of_its_own_folder(folder: Path, weight_map: Any) -> None:
    """An index that leads elsewhere, or nowhere, is refused."""
    _shard(folder, weight_map)
    with pytest.raises(ModelError, match="must name files of its own folder"):
        read_weight_files(folder)


def test_a_tensor_in_two_files_is_refused(folder: Path) -> None:
    """Which of the two the library takes would depend on the order of the files."""
    (folder / WEIGHTS).rename(folder / "a.safetensors")
    (folder / "b.safetensors").write_bytes((folder / "a.safetensors").read_bytes())
    listed = {"x": "a.safetensors", "y": "b.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(ModelError, match=r"b\.safetensors holds .*/a\.safetensors holds too"):
        read_weight_files(folder)
