"""Every continuation of a prompt: a part of ``./dev bench geometry``."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from shared_states import STATES_OF, SharedStates
from side_by_side import medians, table
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.models.decoder import Decoder


def continuations(shared: SharedStates, runs: int) -> None:
    """Every continuation of a prompt: the closest pair against the forward work and all pairs."""
    torch.manual_seed(0)
    small = Decoder("gpt2-small (random weights)", GPT2LMHeadModel(GPT2Config(vocab_size=50_257)))
    cases = ((STATES_OF, shared.decoder(STATES_OF), runs), ("gpt2-small, random weights", small, 1))
    rows = []
    for name, decoder, times in cases:
        ids = torch.randint(decoder.vocab_size, (20,))
        tokens = torch.arange(decoder.vocab_size)
        layers: tuple[Layer, ...] = (1, decoder.n_layers // 2, decoder.n_layers)

        found: list[dict[Layer, Tensor]] = []
        forward = partial(continued, decoder, ids, tokens, layers)
        (taken,) = medians([partial(_into, found, forward)], times)
        for layer, states in found[-1].items():
            some = min(4096, len(tokens))
            ours, every = medians(
                [lambda s=states: closest_pair(s), lambda s=states, n=some: all_pairs(s, n)], times
            )
            rows.append(
                (
                    f"{name}, V = {len(tokens)}, layer {layer_id(layer)}",
                    f"{taken:.2f} s",
                    f"{ours:.3f} s",
                    f"{100 * ours / taken:.0f} %",
                    f"{len(tokens) ** 2 / 2 / ours:.1e}",
                    f"{some * len(tokens) / 2 / every:.1e}",
                )
            )
    table(
        "every continuation of a prompt of 20 tokens",
        (
            "model and layer",
            "forward",
            "closest pair",
            "of forward",
            "pairs / s",
            "all pairs by blocks / s",
        ),
        rows,
    )


def _into(found: list[dict[Layer, Tensor]], work: Callable[[], dict[Layer, Tensor]]) -> None:
    found[:] = [work()]


def continued(
    decoder: Decoder, ids: Tensor, tokens: Tensor, layers: Sequence[Layer]
) -> dict[Layer, Tensor]:
    """The forward work of the exhaustive search: each token after the cached prefix, a row each."""
    prefix = decoder.prefix(ids, decoder.n_layers)
    return decoder.candidates(prefix, tokens, layers, side_by_side=False)


def all_pairs(states: Tensor, some: int) -> float:
    """What blocked all-pairs would do: float32 distances by matrix products, the smallest kept.

    Of some rows to all: its time grows with their number.
    """
    least = float("inf")
    for at in range(0, some, 1024):
        apart = torch.cdist(states[at : at + 1024], states)
        apart[torch.arange(len(apart)), torch.arange(at, at + len(apart))] = torch.inf
        least = min(least, float(apart.min()))
    return least
