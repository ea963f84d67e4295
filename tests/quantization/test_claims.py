"""Checkpoints that are not what they say: refused, or counted as what they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.quantization.packed_modules import packed_layers
from pytest_injectivity.testing import save_checkpoint
from tests.quantized import KINDS, as_gguf, configure, needs

IDS = torch.arange(32).view(2, 16) * 7 % 256

_CLAIMS = {
    "bnb": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "bnb-flags": {"load_in_4bit": True},
    "bnb-int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "fp8": {"quant_method": "fp8", "weight_block_size": [32, 32]},
    "torchao": {
        "quant_method": "torchao",
        "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_data": {}, "_version": 2}},
    },
}


@pytest.mark.parametrize("kind", _CLAIMS)
def test_plain_weights_that_claim_to_be_quantized_are_refused(
    kind: str, full: Path, tmp_path: Path
) -> None:
    """A configuration that names a quantization does not make plain weights quantized."""
    needs(kind)
    folder = save_checkpoint(load_decoder(str(full), device="cpu"), tmp_path / "liar")
    configure(folder, quantization_config=_CLAIMS[kind])
    with pytest.raises(ModelError, match=r"says that it is quantized|cannot be loaded"):
        load_decoder(str(folder), device="cpu")


def test_a_claim_of_four_bits_over_plain_weights_names_the_layers(
    full: Path, tmp_path: Path
) -> None:
    """The message says what layers stand where quantized ones should."""
    needs("bnb")
    folder = save_checkpoint(load_decoder(str(full), device="cpu"), tmp_path / "liar")
    configure(folder, quantization_config=_CLAIMS["bnb"])
    with pytest.raises(ModelError, match=r"no matrix of its blocks is: they are plain weights"):
        load_decoder(str(folder), device="cpu")


def test_a_codebook_wider_than_its_claim_is_counted(published: Callable[[str], Path]) -> None:
    """Codes decide the bits: 4-bit layers that hold a code of 8 bits are not 4-bit layers."""
    decoder = load_decoder(str(published("torchao-int4")), device="cpu")
    (_, module, layer) = next(packed_layers(decoder.model))
    weight: Any = module.weight
    assert 4 == layer.bits
    weight.qdata[0, 0] = 100
    assert 8 == next(packed_layers(decoder.model))[2].bits


def test_quantized_weights_in_secret_are_refused(
    published: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without its scales an fp8 matrix would be loaded as something else."""
    folder = tmp_path / "secret"
    folder.mkdir()
    for path in published("fp8").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"holds quantized weights .* does not say how"):
        load_decoder(str(folder))


def test_float8_without_scales_is_refused(published: Callable[[str], Path], tmp_path: Path) -> None:
    """The library would take the codes for the weights."""
    folder = tmp_path / "unscaled"
    folder.mkdir()
    for path in published("fp8").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "mlp.up_proj.weight_" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError,
        match=r"cannot be decoded: .*0\.mlp\.up_proj\.weight is stored in F8_E4M3 without",
    ):
        load_decoder(str(folder), device="cpu")


def test_a_full_precision_gguf_is_its_parent(full: Path, tmp_path: Path) -> None:
    """Nothing is quantized, the decoder says so, and every bit is the same."""
    needs("gguf")
    path = as_gguf("F32")(full, tmp_path / "file")
    decoder = load_decoder(str(path), device="cpu")
    expected = load_decoder(str(full), device="cpu").states(IDS, decoder.layers)
    assert decoder.quantized is None
    assert (1, 2, "norm") == decoder.layers
    for layer, states in decoder.states(IDS, decoder.layers).items():
        assert expected[layer].equal(states)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"GGML" + data[4:], "cannot be read"),
        (lambda data: data[: len(data) // 2], "cannot be read"),
        (lambda _data: b"", "cannot be read"),
    ],
    ids=["magic", "truncated", "empty"],
)
def test_a_damaged_gguf_is_refused(
    damage: Callable[[bytes], bytes],
    message: str,
    published: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """Whatever the library raises becomes one error that names the file."""
    path = tmp_path / "model.gguf"
    path.write_bytes(damage(published("gguf-Q8_0").read_bytes()))
    with pytest.raises(ModelError, match=rf"{path} {message}"):
        load_decoder(str(path), device="cpu")


FOLDERS = [kind for kind in KINDS if not kind.startswith("gguf")]


def _changed(folder: Path, to: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A copy of a folder with other tensors."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    tensors = change(load_file(to / "model.safetensors"))
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, to / "model.safetensors", metadata=metadata)
    return to


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_scale_that_nothing_takes_is_refused_in_every_format(
    kind: str, published: Callable[[str], Path], tmp_path: Path
) -> None:
    """A scale more than the format's own makes another model for whoever reads it."""
    name = "model.layers.0.self_attn.q_proj.smooth_scale"
    folder = _changed(
        published(kind), tmp_path / "more", lambda tensors: {**tensors, name: torch.ones(64)}
    )
    with pytest.raises(ModelError, match=rf"no parameter of the model takes: {name} "):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_scale_that_is_missing_is_refused_in_every_format(
    kind: str, published: Callable[[str], Path], tmp_path: Path
) -> None:
    """Whatever the library makes of codes without their scales is not loaded."""

    def without(tensors: dict[str, Any]) -> dict[str, Any]:
        named = [
            name
            for name in tensors
            if name.endswith(("absmax", "SCB", "scale", "scales", "scale_inv"))
        ]
        return {name: tensor for name, tensor in tensors.items() if name != min(named)}

    folder = _changed(published(kind), tmp_path / "fewer", without)
    with pytest.raises(ModelError):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, torch.int8) for kind in FOLDERS]
    + [("bnb-nf4", torch.float8_e4m3fn), ("fp8", torch.float8_e4m3fn), ("fp8", torch.uint8)],
)
def test_codes_of_a_layer_that_was_left_out_are_refused_in_every_format(
    kind: str, dtype: torch.dtype, published: Callable[[str], Path], tmp_path: Path
) -> None:
    """The embedding is plain in all of them: codes in its place would be read as numbers."""
    name = "model.embed_tokens.weight"

    def coded(tensors: dict[str, Any]) -> dict[str, Any]:
        return {**tensors, name: torch.ones_like(tensors[name]).to(dtype)}

    folder = _changed(published(kind), tmp_path / "codes", coded)
    with pytest.raises(ModelError, match=f"numbers: {name}|ties lm_head|has {name} and no"):
        load_decoder(str(folder), device="cpu")
