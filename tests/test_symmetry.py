"""Weights that are other numbers and the same function ([VS] quotient by G, SPEC section 3).

Permuting heads within their key groups, or hidden units, and rotating the residual stream leave every
distance as it was, and so every number that is made of distances.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.geometry.layer import LADDER, LayerGeometry, partnered_ratios
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.testing import HEADS, KEY_VALUE_HEADS, tiny_decoder
from tests import brute_force

LAYERS: tuple[Layer, ...] = (1, 2, 3, "norm")
IDS = torch.randint(64, (24, 9), generator=torch.Generator().manual_seed(0))
GROUP = HEADS // KEY_VALUE_HEADS


def _permuted(heads: list[int], width: int) -> Tensor:
    """The rows of heads of this width, in another order."""
    return torch.cat([torch.arange(head * width, (head + 1) * width) for head in heads])


def _gpt2_heads(decoder: Decoder) -> None:
    order = _permuted([2, 0, 3, 1], decoder.hidden_size // HEADS)
    three = torch.cat([order + part * decoder.hidden_size for part in range(3)])
    for block in decoder.parts.blocks:
        attention: Any = block.attn
        attention.c_attn.weight.copy_(attention.c_attn.weight[:, three])
        attention.c_attn.bias.copy_(attention.c_attn.bias[three])
        attention.c_proj.weight.copy_(attention.c_proj.weight[order])


def _gpt2_units(decoder: Decoder) -> None:
    order = torch.randperm(4 * decoder.hidden_size, generator=torch.Generator().manual_seed(1))
    for block in decoder.parts.blocks:
        mlp: Any = block.mlp
        mlp.c_fc.weight.copy_(mlp.c_fc.weight[:, order])
        mlp.c_fc.bias.copy_(mlp.c_fc.bias[order])
        mlp.c_proj.weight.copy_(mlp.c_proj.weight[order])


def _llama_heads(decoder: Decoder) -> None:
    """Key groups change places, and the heads within each of them."""
    width, groups = decoder.hidden_size // HEADS, [1, 0]
    own = _permuted([GROUP * group + at for group in groups for at in (1, 0)], width)
    shared = _permuted(groups, width)
    for block in decoder.parts.blocks:
        attention: Any = block.self_attn
        attention.q_proj.weight.copy_(attention.q_proj.weight[own])
        attention.k_proj.weight.copy_(attention.k_proj.weight[shared])
        attention.v_proj.weight.copy_(attention.v_proj.weight[shared])
        attention.o_proj.weight.copy_(attention.o_proj.weight[:, own])


def _llama_units(decoder: Decoder) -> None:
    order = torch.randperm(2 * decoder.hidden_size, generator=torch.Generator().manual_seed(1))
    for block in decoder.parts.blocks:
        mlp: Any = block.mlp
        mlp.gate_proj.weight.copy_(mlp.gate_proj.weight[order])
        mlp.up_proj.weight.copy_(mlp.up_proj.weight[order])
        mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order])


def _llama_rotation(decoder: Decoder) -> None:
    """RMS norms without a gain commute with rotations; what reads the stream turns back."""
    drawn = torch.randn(decoder.hidden_size, decoder.hidden_size, dtype=torch.float64)
    rotation = torch.linalg.qr(drawn).Q
    embeddings: Any = decoder.parts.embeddings
    embeddings.weight.copy_(embeddings.weight @ rotation)
    for block in decoder.parts.blocks:
        attention: Any = block.self_attn
        mlp: Any = block.mlp
        reading = (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj)
        for reads in reading:
            reads.weight.copy_(reads.weight @ rotation)
        for writes in (attention.o_proj, mlp.down_proj):
            writes.weight.copy_(rotation.T @ writes.weight)


def _without_gains(decoder: Decoder) -> Decoder:
    for name, parameter in decoder.model.named_parameters():
        if "norm" in name:
            parameter.fill_(1.0)
    return decoder


def _numbers(geometry: LayerGeometry) -> list[float]:
    """Everything made of distances."""
    return [
        *(geometry.margin(q) for q in (0.0, 0.01, 0.5)),
        *geometry.nearest.distance,
        *partnered_ratios(geometry.colipschitz_rows),
        *partnered_ratios(geometry.upper_rows),
        *geometry.near_fractions([*LADDER, geometry.margin(0.3)]).values(),
        geometry.mean_norm,
        geometry.median_norm,
    ]


@pytest.mark.parametrize(
    ("family", "change", "same_states"),
    [
        ("gpt2", _gpt2_heads, True),
        ("gpt2", _gpt2_units, True),
        ("llama", _llama_heads, True),
        ("llama", _llama_units, True),
        ("llama", _llama_rotation, False),
    ],
)
def test_the_same_function_has_the_same_numbers(
    family: str, change: Callable[[Decoder], None], *, same_states: bool
) -> None:
    """Heads, units and rotations: to the rounding of float64, at every layer."""
    torch.manual_seed(0)
    decoder = _without_gains(tiny_decoder(family, layers=3)).as_float64()
    changed = decoder.as_float64()
    change(changed)
    prompts = PairDistances(PromptMetric.parse("levenshtein"), tuple(map(tuple, IDS.tolist())))
    last = torch.full((len(IDS),), IDS.shape[1] - 1)
    before, after = (one.states(IDS, LAYERS, positions=last) for one in (decoder, changed))
    for layer in LAYERS:
        left, right = before[layer], after[layer]
        assert same_states == bool(torch.allclose(left, right, rtol=1e-9, atol=1e-9))
        apart = brute_force.distances(left)
        np.testing.assert_allclose(brute_force.distances(right), apart, rtol=1e-9, atol=1e-9)
        expected = _numbers(LayerGeometry(layer, left, prompts))
        found = _numbers(LayerGeometry(layer, right, prompts))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_another_order_of_half_the_weights_is_another_function() -> None:
    """What the test above would say of a permutation that is not undone."""
    decoder = tiny_decoder("gpt2", layers=3).as_float64()
    changed = decoder.as_float64()
    for block in changed.parts.blocks:
        mlp: Any = block.mlp
        mlp.c_fc.weight.copy_(mlp.c_fc.weight.flip(1))
    last = torch.full((len(IDS),), IDS.shape[1] - 1)
    before, after = (one.states(IDS, [3], positions=last)[3] for one in (decoder, changed))
    assert not np.allclose(brute_force.distances(before), brute_force.distances(after), rtol=1e-3)
