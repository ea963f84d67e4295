"""SipIt on trained models, with the tolerance an audit would use: the resolution."""

import argparse
import decimal
import json
import logging
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.policies import POLICIES
from pytest_injectivity.inversion.recovery import Recovery, Status
from pytest_injectivity.inversion.sipit import recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.states.resolution import LayerResolution
from pytest_injectivity.states.resolution_sample import DEFAULT_SIZE
from tests.repetitions import mostly_slow
from tests.resolutions import resolution_of

SHIPPED = "builtin:gpt2-stdlib"
SHARED = ("gpt2-1m", "qwen3-1m", "stories260k-llama")
# The shipped model is a GPT-2 too, and Qwen differs little from the llama.
OTHERS = mostly_slow(SHARED, "stories260k-llama")
_FOLDER = Path(__file__).parents[2] / ".." / "shared" / "models"
_MODULES = (argparse, decimal, json, logging, subprocess)


@dataclass(frozen=True)
class Sample:
    """Prompts of one model, 90 % text and 10 % random tokens, and how to invert them."""

    decoder: Decoder
    prompts: list[tuple[int, ...]]

    @cached_property
    def resolutions(self) -> dict[Layer, LayerResolution]:
        """At three layers, of a few prompts, as an audit measures it: the others may exceed it."""
        layers = three_layers(self.decoder)
        return resolution_of(self.decoder, self.prompts[:4], layers, size=DEFAULT_SIZE)

    def invert(self, layer: Layer, policy: str, **settings: Any) -> list[bool]:
        """Whether each prompt came back exactly, verified within the resolution."""
        resolution = self.resolutions[layer]
        states = [observe(self.decoder, ids, [layer])[layer] for ids in self.prompts]
        eps, scales = resolution.scaled_tolerance, resolution.scales
        found = recover_all(
            self.decoder, states, layer, eps=eps, scales=scales, policy=policy, **settings
        )
        assert 0 == found.ambiguous
        certified = [o for o in found.sampled if o.status is Status.CERTIFIED]
        assert len(certified) >= 0.9 * len(found.sampled)
        # What was certified is far from every other token beside what evaluations differ by.
        assert all(2 * resolution.at(1) < (o.margin or 0) for o in certified)
        return list(map(Recovery.exact, found.recoveries, self.prompts))


@pytest.fixture(scope="module")
def sample() -> Callable[[str, int, int], Sample]:
    """Makes a sample of a model; skips the test where the model is not on this machine."""
    loaded: dict[str, Decoder] = {}

    @cache
    def make(name: str, count: int, length: int) -> Sample:
        source = name if name.startswith("builtin:") else str(_FOLDER / name)
        if source != name and not Path(source, "config.json").is_file():
            pytest.skip(f"the trained model {name} is not on this machine")
        if name not in loaded:
            loaded[name] = load_decoder(source, device="cpu")
        decoder = loaded[name]
        texts = [str(module.__doc__) for module in _MODULES]
        rows = [decoder.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        windows = [
            tuple(row[at : at + length])
            for row in rows
            for at in range(0, min(len(row), 5 * length) - length + 1, length)
        ]
        random = torch.randint(
            decoder.vocab_size,
            (max(1, count // 10), length),
            generator=torch.Generator().manual_seed(0),
        )
        drawn = [tuple(row) for row in random.tolist()]
        chosen = windows[: count - len(drawn)] + drawn
        assert count == len(chosen)
        return Sample(decoder, chosen)

    return make


def three_layers(decoder: Decoder) -> tuple[int, int, int]:
    return 1, decoder.n_layers // 2, decoder.n_layers


@pytest.mark.parametrize(
    ("policy", "depth"),
    mostly_slow(
        [*product(POLICIES, (0, -1))],
        *((policy, 0 if policy == "random" else -1) for policy in POLICIES),
    ),
)
def test_short_prompts_come_back(
    sample: Callable[[str, int, int], Sample], policy: str, depth: int
) -> None:
    """Two prompts of six tokens of the shipped model, at its first and its last layer.

    The default run takes one layer of each policy: searching at random takes long at the last.
    """
    few = sample(SHIPPED, 2, 6)
    assert [True] * 2 == few.invert(three_layers(few.decoder)[depth], policy, certify=2)


@pytest.mark.parametrize("name", OTHERS)
def test_short_prompts_of_other_families_come_back(
    sample: Callable[[str, int, int], Sample], name: str
) -> None:
    """Two prompts of six tokens at the last layer."""
    few = sample(name, 2, 6)
    assert [True] * 2 == few.invert(few.decoder.n_layers, "lm-order", certify=2)


@pytest.mark.parametrize("name", [SHIPPED, *OTHERS])
def test_candidates_side_by_side_stay_within_the_resolution(
    sample: Callable[[str, int, int], Sample], name: str
) -> None:
    """The tree mask is one of the ways in which the resolution is measured."""
    few = sample(name, 4, 12)
    layers = three_layers(few.decoder)
    assert 4 == len(few.prompts)
    for ids in few.prompts:
        prefix = few.decoder.prefix(torch.tensor(ids[:-1]), layers[-1])
        tokens = torch.arange(few.decoder.vocab_size)[-300:]
        together = few.decoder.candidates(prefix, tokens, layers)
        alone = few.decoder.candidates(prefix, tokens, layers, side_by_side=False)
        for layer in layers:
            apart = torch.linalg.vector_norm(together[layer] - alone[layer], dim=1)
            assert float(apart.max()) <= 2 * few.resolutions[layer].at(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SHIPPED, *SHARED])
@pytest.mark.parametrize(
    ("depth", "policy"), [*((0, name) for name in POLICIES), (1, "lm-order"), (2, "lm-order")]
)
def test_twenty_of_twenty_prompts_come_back(
    sample: Callable[[str, int, int], Sample], name: str, depth: int, policy: str
) -> None:
    """20 prompts of 20 tokens, with 100 certified positions, at layers 1, L/2 and L."""
    many = sample(name, 20, 20)
    assert [True] * 20 == many.invert(three_layers(many.decoder)[depth], policy)


@pytest.mark.parametrize("name", [SHIPPED, *OTHERS])
def test_a_slightly_wrong_model_recovers_nothing(
    sample: Callable[[str, int, int], Sample], name: str
) -> None:
    """Weights 1 % off are another model: nothing verifies within the radius of the first."""
    few = sample(name, 2, 3)
    layer = few.decoder.n_layers
    resolution = sample(name, 2, 6).resolutions[layer]
    states = [observe(few.decoder, ids, [layer])[layer] for ids in few.prompts]
    wrong = load_decoder(few.decoder.source, device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in wrong.model.parameters():
        parameter.mul_(1 + 0.01 * torch.randn(parameter.shape, generator=generator))
    found = recover_all(
        wrong, states, layer, eps=resolution.scaled_tolerance, scales=resolution.scales
    )
    assert {Status.NEAREST: 6} == found.statuses


@pytest.mark.parametrize("name", [SHIPPED, *SHARED])
def test_the_first_positions_tokens_are_far_apart(
    sample: Callable[[str, int, int], Sample], name: str
) -> None:
    """The one-step margin over the whole vocabulary lies above the resolution at layer 1."""
    decoder = sample(name, 1, 2).decoder
    resolution = resolution_of(decoder, [(1, 2)], [1])[1]
    table = OneStep.of(decoder, 1, ())(torch.arange(decoder.vocab_size))
    assert table.isfinite().all()
    assert closest_pair(table).distance > 2 * resolution.at(0)
