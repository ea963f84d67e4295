"""Collapse by repetition (SPEC section 10), for ``./dev bench theory repetition``.

For each model, layer and dtype: at which n the states of n and n + 1 repetitions of a token are equal,
and at which evaluation does not tell them apart: with nothing around, behind a beginning of one token,
and before an end of one.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from machine import machine

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.float64 import release
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.quantization.activation_hooks import Rounding
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.states.resolution_measurement import measure_resolution
from pytest_injectivity.states.resolution_sample import choose_sample
from pytest_injectivity.testing import tiny_decoder
from pytest_injectivity.theory.repetition import (
    Collapse,
    Ids,
    Repetition,
    equal_exactly,
    measure_repetition,
)

DTYPES = ("float32", "bfloat16", "float16", "8 per-token", "4 per-token")
FLOATS = ("e4m3 per-token", "e5m2 per-token")
AROUND = ("nothing", "beginning", "end")
_CONTEXT = 128
# Kinds of positions, by random models: family, and what makes it have them.
RANDOM: dict[str, tuple[str, dict[str, Any]]] = {
    "learned": ("gpt2", {}),
    "rotary": ("llama", {}),
    "rotary, sliding window of 8": ("mistral", {}),
    "alibi": ("falcon", {"alibi": True}),
    "none": ("gpt2", {}),
    "none, state space": ("mamba", {}),
}


def add_repetition(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("repetition", description=__doc__.partition("\n")[0])
    one.add_argument(
        "models", nargs="*", help="folders, .gguf files, builtins; none: random models"
    )
    one.add_argument("--steps", type=int, default=64, help="the largest n")
    one.add_argument("--tokens", type=int, default=3, help="tokens repeated, drawn")
    one.add_argument("--around", nargs="*", default=AROUND, choices=AROUND)
    one.add_argument("--dtypes", nargs="*", default=DTYPES, choices=(*DTYPES, *FLOATS))
    one.set_defaults(run=repetition)


def repetition(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown."""
    cases = [
        _random(name) if name in RANDOM else _checkpoint(name) for name in given.models or RANDOM
    ]
    columns = ("model", "around", "layer", "float64", *given.dtypes)
    print(f"n = 1 to {given.steps}, {given.tokens} tokens; {machine()}\n")
    for row in (columns, ("---",) * len(columns)):
        _print(row)
    for case in cases:
        for row in _rows(case, given):
            _print((case.name, *row))


def _print(row: Sequence[str]) -> None:
    print(f"| {' | '.join(row)} |", flush=True)


@dataclass(frozen=True)
class _Case:
    """A model, in any dtype."""

    name: str
    load: Callable[[str], Decoder]


def _checkpoint(name: str) -> _Case:
    return _Case(name.rpartition("/")[2], lambda dtype: load_decoder(name, dtype=dtype))


def _random(positions: str) -> _Case:
    family, settings = RANDOM[positions]

    def load(dtype: str) -> Decoder:
        decoder = tiny_decoder(
            family,
            layers=4,
            hidden=64,
            vocab=256,
            context=_CONTEXT,
            dtype=getattr(torch, dtype),
            **settings,
        )
        if positions == "none":
            base: Any = decoder.parts.base
            base.wpe.weight.zero_()
        return decoder

    return _Case(f"random, positions {positions}", load)


def _rows(case: _Case, given: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    full = case.load("float32")
    layers: list[Layer] = [*dict.fromkeys([1, max(1, full.n_layers // 2), full.n_layers])]
    drawn = np.random.default_rng(0).permutation(full.vocab_size).tolist()
    other, *repeated = drawn[: given.tokens + 1]
    ends: dict[str, tuple[Ids, Ids]] = {
        "nothing": ((), ()),
        "beginning": ((other,), ()),
        "end": ((), (other,)),
    }
    asked = {one: [Repetition(token, *ends[one]) for token in repeated] for one in given.around}
    copy = full.as_float64()
    cells: dict[tuple[str, Layer], list[str]] = {}
    for around, some in asked.items():
        exact = [equal_exactly(copy, one, given.steps, layers) for one in some]
        for layer in layers:
            cells[around, layer] = [_shown([found[layer] for found in exact])]
    release(copy.model)
    for dtype in given.dtypes:
        decoder = _in(case, full, dtype)
        sample = choose_sample(_sampled(full), full.vocab_size, full.context)
        resolutions = measure_resolution(decoder, None, sample, layers)
        for around, some in asked.items():
            ladders = [
                measure_repetition(decoder, one, given.steps, layers, resolutions) for one in some
            ]
            for layer in layers:
                of = [found[layer] for found in ladders]
                both = [_shown([one.equal for one in of]), _shown([one.unresolved for one in of])]
                cells[around, layer].append("; ".join(dict.fromkeys(both)))
    for (around, layer), found in cells.items():
        yield around, str(layer), *found


def _in(case: _Case, full: Decoder, dtype: str) -> Decoder:
    """The model in a dtype, or with its activations on a grid as it runs."""
    if dtype == "float32":
        return full
    if dtype in {"bfloat16", "float16"}:
        return case.load(dtype)
    return full.rounded(Rounding(Grid.parse(dtype)))


def _sampled(decoder: Decoder) -> list[list[int]]:
    """Prompts of drawn tokens, for the resolution."""
    drawn = np.random.default_rng(1).integers(0, decoder.vocab_size, (32, 64))
    return [row.tolist() for row in drawn]


def _shown(found: Sequence[Collapse]) -> str:
    """Of several tokens: the smallest first n, the mean share, the largest n from which on all are."""
    share = sum(one.share for one in found) / len(found)
    first = [one.first for one in found if one.first is not None]
    lasting = [one.lasting for one in found if one.lasting is not None]
    if not first:
        return "–"
    if share == 1:
        return "all"
    every = f"{max(lasting)}" if len(lasting) == len(found) else "–"
    return f"{min(first)} / {100 * share:.0f} % / {every}"
