import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.checkpoint import (
    INDEX,
    WEIGHTS,
    check_config,
    check_weights,
    has_tokenizer,
)
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tiny_decoder(), tmp_path / "checkpoint")


def _configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_whole_checkpoint_is_accepted(folder: Path) -> None:
    """What the library writes passes both checks."""
    check_config(folder)
    check_weights(folder)


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    """The message names the folder and the file it lacks."""
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=rf"{folder} has no config\.json"):
        check_config(folder)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff\xfe"])
def test_a_config_that_is_not_json_is_refused(folder: Path, text: str) -> None:
    """Broken JSON, of any kind, is named with its file."""
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        check_config(folder)


def test_a_config_that_is_no_object_is_refused(folder: Path) -> None:
    """A list is valid JSON and no configuration."""
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ModelError, match="must hold a JSON object, not a list"):
        check_config(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "unheard_of"}, "model_type 'unheard_of' is not one of transformers: "),
        ({"model_type": None}, "model_type None is not one of transformers"),
        ({"model_type": ["gpt2"]}, r"model_type \['gpt2'\] is not one of transformers"),
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}},
            "'mine' is not one of transformers and brings code of its own, which is never run",
        ),
        ({"quantization_config": {"quant_method": "mine"}}, "quant_method 'mine' is not one"),
        ({"quantization_config": {"bits": 4}}, "quant_method None is not one that is read"),
        ({"quantization_config": {"quant_method": ["fp8"]}}, r"quant_method \['fp8'\] is not one"),
        ({"quantization_config": "fp8"}, "quantization_config must be a JSON object, not 'fp8'"),
        ({"transformers_weights": "other.safetensors"}, "weights in 'other.safetensors'"),
    ],
    ids=[
        "unknown type",
        "no type",
        "odd type",
        "remote code",
        "unknown method",
        "no method",
        "odd method",
        "odd quantization",
        "other file",
    ],
)
def test_a_config_that_cannot_be_loaded_is_refused(
    folder: Path, values: dict[str, Any], message: str
) -> None:
    """Each is named with the value at fault."""
    _configure(folder, **values)
    with pytest.raises(ModelError, match=message):
        check_config(folder)


def test_remote_code_beside_a_known_type_is_ignored(folder: Path) -> None:
    """The library's own class is used; the checkpoint's code is not."""
    _configure(folder, auto_map={"AutoConfig": "code.Mine"})
    check_config(folder)


def test_an_adapter_is_refused(folder: Path) -> None:
    """An adapter names another checkpoint, which the library would go and load."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds an adapter"):
        check_config(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_a_pickle_is_refused_by_name_and_never_opened(folder: Path, name: str) -> None:
    """A folder whose only weights would be unpickled is refused."""
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match=rf"{name} would be unpickled.*safetensors are accepted"):
        check_weights(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.gguf", r"holds \.gguf files"), ("x.safetensors", "has no weights"), ("x", "has no weigh")],
)
def test_a_folder_without_weights_is_refused(folder: Path, name: str, message: str) -> None:
    """The message says which files are accepted."""
    (folder / WEIGHTS).rename(folder / name)
    with pytest.raises(ModelError, match=message):
        check_weights(folder)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 2000, -1])
def test_a_truncated_file_is_refused(folder: Path, kept: int) -> None:
    """Cut anywhere, in the header or the data, the file is named before it is loaded."""
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=rf"{path} is no complete safetensors file"):
        check_weights(folder)


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
        check_weights(folder)


def _shard(folder: Path, weight_map: Any) -> None:
    (folder / WEIGHTS).rename(folder / "one.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_every_shard_is_checked(folder: Path) -> None:
    """A missing shard and a truncated one are named."""
    _shard(folder, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(ModelError, match=r"two\.safetensors is missing"):
        check_weights(folder)
    (folder / "two.safetensors").write_bytes(b"\x01")
    with pytest.raises(ModelError, match=r"two\.safetensors is no complete"):
        check_weights(folder)
    (folder / "two.safetensors").unlink()
    save_file({}, folder / "two.safetensors")
    check_weights(folder)


@pytest.mark.parametrize("weight_map", [None, {}, {"a": "../one"}, {"a": "/etc/passwd"}, {"a": ""}])
def test_an_index_names_files_of_its_own_folder(folder: Path, weight_map: Any) -> None:
    """An index that leads elsewhere, or nowhere, is refused."""
    _shard(folder, weight_map)
    with pytest.raises(ModelError, match="must name files of its own folder"):
        check_weights(folder)


def test_a_tokenizer_is_seen(folder: Path) -> None:
    """A folder with tokenizer files has a tokenizer, one without has none."""
    assert not has_tokenizer(folder)
    byte_tokenizer().save_pretrained(folder)
    assert has_tokenizer(folder)
