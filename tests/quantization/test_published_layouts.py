"""Layouts that tools have published beside their usual ones: read right, or refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.loading import load_decoder
from tests.encoders import ENCODERS, Encoder
from tests.layouts import Encode, Tensors, awq, fp8, gptq, in_words, int8_of_rows, of_quark


def _with_scale_of_inputs(weight: Tensor) -> tuple[Tensors, Tensor]:
    parts, dense = fp8(weight)
    return {**parts, "input_scale": torch.tensor(0.1)}, dense


def _integers4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = weight.float().abs().amax(1, keepdim=True) / 7
    codes = (weight / scale).round().clamp(-8, 7)
    return codes, scale, codes * scale


def _in_bytes(weight: Tensor) -> tuple[Tensors, Tensor]:
    codes, scale, dense = _integers4(weight)
    return {"weight": codes.to(torch.int8), "weight_scale": scale}, dense


def _packed(weight: Tensor, **more: Tensor) -> tuple[Tensors, Tensor]:
    codes, scale, dense = _integers4(weight)
    shape = torch.tensor(weight.shape)
    words = in_words(codes.long() + 8, 4)
    return {"weight_packed": words, "weight_scale": scale, "weight_shape": shape, **more}, dense


def _never_ordered(weight: Tensor) -> tuple[Tensors, Tensor]:
    return _packed(weight, weight_g_idx=torch.full((weight.shape[1],), -1, dtype=torch.int32))


def _in_blocks(weight: Tensor) -> tuple[Tensors, Tensor]:
    """Float8 in blocks of 48 x 48, the last of them cut off."""
    rows, columns = (-(-size // 48) for size in weight.shape)
    scale = torch.linspace(1e-3, 1e-2, rows * columns).reshape(rows, columns)
    whole = scale.repeat_interleave(48, 0).repeat_interleave(48, 1)
    whole = whole[: weight.shape[0], : weight.shape[1]]
    codes = (weight / whole).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale": scale}, codes.float() * whole


_INTEGERS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "channel"}
_OF_KEYS = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor"}


def _compressed(form: str, weights: dict[str, Any], **groups: Any) -> dict[str, Any]:
    scheme = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {**groups, "linear": scheme},
    }


_EMBEDDED = {"targets": ["Embedding"], "weights": {**_INTEGERS, "num_bits": 8}}
_BLOCKS = {**_OF_KEYS, "strategy": "block", "block_structure": "48x48"}

READ: dict[str, tuple[Encode, dict[str, Any], int]] = {
    "GPTQ, the second version by gptqmodel's newer key": (
        gptq(4, less=0),
        {"quant_method": "gptq", "bits": 4, "format": "gptq_v2"},
        4,
    ),
    "AutoFP8": (fp8, {"quant_method": "fp8", "activation_scheme": "dynamic"}, 8),
    "AutoFP8 with scales of inputs": (
        _with_scale_of_inputs,
        {"quant_method": "fp8", "activation_scheme": "static"},
        8,
    ),
    "integers of 4 bits in bytes": (_in_bytes, _compressed("int-quantized", _INTEGERS), 4),
    "an order of inputs that was never made": (
        _never_ordered,
        _compressed("pack-quantized", _INTEGERS),
        4,
    ),
    "another scheme for embeddings before that of layers": (
        _packed,
        _compressed("pack-quantized", _INTEGERS, first=_EMBEDDED),
        4,
    ),
    "blocks as text": (_in_blocks, _compressed("float-quantized", _BLOCKS), 8),
}


@pytest.mark.parametrize("name", READ)
def test_layouts_that_tools_have_published(name: str, full: Path, tmp_path: Path) -> None:
    """Every matrix has the bits that its codes stand for, and the bits of a code are told."""
    encode, config, bits = READ[name]
    folder, dense = Encoder(encode, config, "", bits).write(full, tmp_path / "checkpoint")
    decoder = load_decoder(str(folder), device="cpu")
    held = dict(decoder.model.named_parameters())
    assert len(dense) == 14
    assert {} == {at: one for at, one in dense.items() if not held[at].equal(one)}
    assert decoder.quantized is not None
    assert decoder.quantized.bits == bits


@pytest.mark.parametrize(
    ("encode", "config", "message"),
    [
        (gptq(4), {"quant_method": "gptq", "checkpoint_format": "marlin"}, "format marlin is not"),
        (gptq(3), {"quant_method": "gptq", "format": "gptq_p"}, "format gptq_p is not read"),
        (
            gptq(4),
            {"quant_method": "gptq", "format": "gptq", "checkpoint_format": "gptq_v2"},
            "gptq and gptq_v2 is not read",
        ),
        (awq, {"quant_method": "awq", "checkpoint_format": "gemv"}, "version gemv is not read"),
        (awq, {"quant_method": "awq", "version": "gemm", "backend": "llm-awq"}, "llm-awq is not"),
        (
            of_quark(signed=False),
            {**ENCODERS["quark-uint4"].config, "export": {"pack_method": "order"}},
            "pack_method 'order' is not read: reorder is",
        ),
    ],
)
def test_layouts_of_other_orders_are_refused(
    encode: Encode, config: dict[str, Any], message: str, full: Path, tmp_path: Path
) -> None:
    """Codes at other places in a word would be read as other weights; the layout is named."""
    folder, _ = Encoder(encode, config, "", 4).write(full, tmp_path / "checkpoint")
    with pytest.raises(ModelError, match=message):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("encode", "lost", "config"),
    [
        (gptq(4, order=True), "g_idx", {"quant_method": "gptq", "bits": 4, "desc_act": True}),
        (
            _packed,
            "weight_zero_point",
            _compressed("pack-quantized", {**_INTEGERS, "symmetric": False}),
        ),
        (
            _packed,
            "weight_g_idx",
            _compressed("pack-quantized", {**_INTEGERS, "actorder": "group"}),
        ),
        (
            int8_of_rows,
            "weight_zero_point",
            {
                "quant_method": "quark",
                "global_quant_config": {"weight": {"dtype": "int8", "symmetric": False}},
            },
        ),
    ],
)
def test_zero_points_and_orders_that_were_dropped_are_refused(
    encode: Encode, lost: str, config: dict[str, Any], full: Path, tmp_path: Path
) -> None:
    """The configuration says that there are some; without them the codes stand for other weights."""

    def without(weight: Tensor) -> tuple[Tensors, Tensor]:
        parts, dense = encode(weight)
        return {name: part for name, part in parts.items() if name != lost}, dense

    folder, _ = Encoder(without, config, "", 4).write(full, tmp_path / "checkpoint")
    named = {"g_idx": "order"}.get(lost, lost)
    with pytest.raises(ModelError, match=rf"mlp\.down_proj has .* and no {named}"):
        load_decoder(str(folder), device="cpu")


def test_bytes_of_more_bits_than_are_told_are_refused(full: Path, tmp_path: Path) -> None:
    """The bits that are reported are those of the codes."""
    three = _compressed("int-quantized", {**_INTEGERS, "num_bits": 3})
    folder, _ = Encoder(_in_bytes, three, "", 3).write(full, tmp_path / "checkpoint")
    with pytest.raises(ModelError, match=r"codes from -\d to \d have more than 3 bits"):
        load_decoder(str(folder), device="cpu")


_HALVED = ("weight_scale", "scales", "qzeros")


@pytest.mark.parametrize(
    "name", ["ct-NVFP4A16", "ct-MXFP4A16", "modelopt-NVFP4", "quark-mxfp4", "awq", "gptq-order"]
)
def test_groups_that_lost_their_scales_are_refused(name: str, full: Path, tmp_path: Path) -> None:
    """Half of the scales are a grid over the matrix as well: of groups that nobody has made."""
    encoder = ENCODERS[name]

    def halved(weight: Tensor) -> tuple[Tensors, Tensor]:
        parts, dense = encoder.encode(weight)
        turned = "weight_scale" in parts
        return {
            one: (part[:, ::2] if turned else part[::2]) if one in _HALVED else part
            for one, part in parts.items()
        }, dense

    folder, _ = Encoder(halved, encoder.config, "", 4).write(full, tmp_path / "checkpoint")
    with pytest.raises(ModelError, match=r"scales of "):
        load_decoder(str(folder), device="cpu")
