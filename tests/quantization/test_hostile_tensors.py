"""Tensors and words that are not what a format writes: refused, or decoded to finite numbers."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.formats.base import Format, Signs
from pytest_injectivity.quantization.formats.registry import detect
from pytest_injectivity.quantization.stored_tensors import StoredTensor, StoredWeights
from tests.encoders import ENCODERS
from tests.layouts import Tensors

LAYER = "model.layers.0.mlp.up_proj."
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
WORDS = [None, 0, -1, 10**9, 0.5, True, "x", "../../x", [], {}, [None], [1, 2], [[1]], {"a": 1}]


def _row(name: str) -> Format:
    config = {"quantization_config": ENCODERS[name].config} if ENCODERS[name].config else {}
    row = detect(Signs(config, frozenset(ENCODERS[name].files)), name)
    assert row is not None
    return row


def _tensors(name: str) -> Tensors:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    return {LAYER + end: one for end, one in ENCODERS[name].encode(weight)[0].items()}


def _decode(row: Format, tensors: Tensors, said: Any) -> list[Tensor]:
    headers = {
        name: StoredTensor(DTYPES[one.dtype], tuple(one.shape)) for name, one in tensors.items()
    }
    stored = StoredWeights(headers, tensors.__getitem__, said)
    row.leaves_activations(stored)
    row.decodes(stored)
    return [one.values(tensors.__getitem__) for one in row.encoded(stored)]


def _changed(tensor: Tensor) -> Iterator[Tensor]:
    """Other shapes, other types, other numbers."""
    wide = tensor.float()
    yield from (tensor.flatten(), tensor[None], tensor.flatten()[:0], tensor.flatten()[:1][0])
    if tensor.ndim:
        yield from (tensor[: len(tensor) // 2], tensor.transpose(0, -1))
    yield from (wide.clamp(0, 255).to(dtype) for dtype in DTYPES)
    yield from (torch.full_like(wide, float("nan")), torch.full_like(wide, float("inf")), -wide)


def _places(words: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = words.items() if isinstance(words, dict) else enumerate(words)
    for key, value in inner:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*at, key))


def _with(words: Any, at: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(words))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return copy


@pytest.mark.parametrize("name", ENCODERS)
def test_any_tensor_may_be_anything(name: str) -> None:
    """Nothing is raised but a ModelError, and every number that is decoded is finite."""
    row, tensors, said = _row(name), _tensors(name), ENCODERS[name].config
    assert 1 == len(_decode(row, tensors, said))
    refused = tried = 0
    for at, tensor in tensors.items():
        for other in _changed(tensor):
            tried += 1
            try:
                found = _decode(row, {**tensors, at: other}, said)
            except ModelError:
                refused += 1
            else:
                assert all(one.isfinite().all() for one in found)
    assert tried > refused > 5


@pytest.mark.parametrize("name", ENCODERS)
def test_any_word_may_be_anything(name: str) -> None:
    """Each word of the configuration in turn, and words that are not there."""
    row, tensors, said = _row(name), _tensors(name), ENCODERS[name].config
    places = [*_places(said), ("weight_block_size",), ("dynamic",), ("transform_config",)]
    values = random.Random(0)  # noqa: S311 - a choice of inputs
    tried = 0
    for at in places:
        for value in values.sample(WORDS, 6):
            tried += 1
            try:
                found = _decode(row, tensors, _with(said, at, value))
            except ModelError:
                continue
            assert all(one.isfinite().all() for one in found)
    assert tried >= 18


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    """A scale that is no number makes weights that are none."""
    tensors = _tensors("gptq-3")
    at = f"{LAYER}scales"
    broken = {**tensors, at: torch.full_like(tensors[at], number)}
    with pytest.raises(
        ModelError, match=r"up_proj\.weight is decoded to numbers that are not finite"
    ):
        _decode(_row("gptq-3"), broken, ENCODERS["gptq-3"].config)
