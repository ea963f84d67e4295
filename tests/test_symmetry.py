"""Weights that are other numbers and the same function ([VS] quotient by G, SPEC section 3).

Permuting heads within their key groups, or hidden units, moving factors from a norm to what reads it,
and rotating the residual stream leave every distance as it was, and so every number made of distances.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.geometry.layer import LADDER, LayerGeometry, partnered_ratios
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.testing import tiny_decoder
from tests import brute_force
from tests.symmetries import SYMMETRIES, symmetries_of

LAYERS: tuple[Layer, ...] = (1, 2, 3, "norm")
IDS = torch.randint(64, (24, 9), generator=torch.Generator().manual_seed(0))


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


def _check(decoder: Decoder, name: str, ids: Tensor, layers: Sequence[Layer]) -> None:
    """States are the same, or turned; every number made of distances is the same."""
    exact, changed = decoder.as_float64(), SYMMETRIES[name](decoder.as_float64())
    prompts = PairDistances(PromptMetric.parse("levenshtein"), tuple(map(tuple, ids.tolist())))
    last = torch.full((len(ids),), ids.shape[1] - 1)
    before, after = (one.states(ids, layers, positions=last) for one in (exact, changed))
    # Where the stream turns, the gain of the final norm is in the head.
    compared = [one for one in layers if (name, one) != ("rotation", "norm")]
    assert len(compared) >= 2
    for layer in compared:
        left, right = before[layer], after[layer]
        same = bool(torch.allclose(left, right, rtol=1e-9, atol=1e-9))
        assert same == (name != "rotation")
        apart = brute_force.distances(left)
        np.testing.assert_allclose(brute_force.distances(right), apart, rtol=1e-9, atol=1e-9)
        expected = _numbers(LayerGeometry(layer, left, prompts))
        found = _numbers(LayerGeometry(layer, right, prompts))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (family, name)
        for family in ("gpt2", "llama")
        for name in symmetries_of(tiny_decoder(family))
    ],
)
def test_the_same_function_has_the_same_numbers(family: str, name: str) -> None:
    """Heads, units, factors and rotations: to the rounding of float64, at every layer."""
    _check(tiny_decoder(family, layers=3), name, IDS, LAYERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYMMETRIES)
@pytest.mark.parametrize("model", ["gpt2-1m", "qwen3-1m", "slm4096-gpt2", "stories260k-llama"])
def test_a_trained_model_of_the_same_function_has_the_same_numbers(
    model: str, name: str, shared_model: Callable[[str], str]
) -> None:
    """As those of random weights."""
    decoder = load_decoder(shared_model(model), device="cpu")
    if name not in symmetries_of(decoder):
        pytest.skip("the mean that its norms subtract is in one basis")
    _check(decoder, name, IDS % decoder.vocab_size, (1, decoder.n_layers, "norm"))


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
