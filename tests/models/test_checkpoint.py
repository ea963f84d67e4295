import json
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.checkpoint import resolve
from pytest_injectivity.models.weight_files import WEIGHTS
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tiny_decoder(), tmp_path / "checkpoint")


def _configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_whole_checkpoint_is_accepted(folder: Path) -> None:
    """What the library writes passes both checks."""
    found = resolve(str(folder))
    assert [folder / WEIGHTS] == list(found.weights.headers)
    assert (None, None, "gpt2", 2) == (
        found.quantized,
        found.revision,
        found.config.model_type,
        found.n_layers,
    )


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    """The message names the folder and the file it lacks."""
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=rf"{folder} has no config\.json"):
        resolve(str(folder))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff\xfe"])
def test_a_config_that_is_not_json_is_refused(folder: Path, text: str) -> None:
    """Broken JSON, of any kind, is named with its file."""
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        resolve(str(folder))


def test_a_config_that_is_no_object_is_refused(folder: Path) -> None:
    """A list is valid JSON and no configuration."""
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ModelError, match="must hold a JSON object, not a list"):
        resolve(str(folder))


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
    """The message names the value that cannot be loaded."""
    _configure(folder, **values)
    with pytest.raises(ModelError, match=message):
        resolve(str(folder))


def test_remote_code_beside_a_known_type_is_ignored(folder: Path) -> None:
    """The library's own class is used; the checkpoint's code is not."""
    _configure(folder, auto_map={"AutoConfig": "code.Mine"})
    assert "GPT2Config" == type(resolve(str(folder)).config).__name__


def test_an_adapter_is_refused(folder: Path) -> None:
    """An adapter names another checkpoint, which the library would go and load."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds an adapter"):
        resolve(str(folder))


def test_a_tokenizer_is_seen(folder: Path) -> None:
    """A folder with tokenizer files has a tokenizer, one without has none."""
    assert not resolve(str(folder)).has_tokenizer
    byte_tokenizer().save_pretrained(folder)
    assert resolve(str(folder)).has_tokenizer
