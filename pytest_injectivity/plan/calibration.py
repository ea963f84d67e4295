"""Measures the rates of a machine with a model in two seconds."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.plan.rates import Rates, Search
from pytest_injectivity.prompts.metrics import PairDistances
from pytest_injectivity.states.batches import GRAIN, padded_length

SECONDS = 2.0
"""What a calibration takes, about: passes of the model, then searches of random rows."""

_SMALLEST = 2 * GRAIN
_GROWTH = 4
_PREFIX = 16
_CANDIDATES = 256
_FEW_ROWS = 256
_ROWS = 2048
_TOKENS_OF_PRODUCT = 256

Clock = Callable[[], float]


def calibrate(
    decoder: Decoder,
    distances: PairDistances,
    *,
    batch_tokens: int,
    seconds: float = SECONDS,
    clock: Clock = time.perf_counter,
) -> Rates:
    """Measures how fast a model runs here, and how fast its states are compared.

    Args:
        decoder: the model.
        distances: the prompt metric over the prompts, whose lengths decide the shapes.
        batch_tokens: tokens of one pass of a capture.
        seconds: to be spent on passes of the model, about.
        clock: the time.
    """
    width = padded_length(int(sorted(distances.lengths)[len(distances.lengths) // 2]))
    width = min(width, decoder.context or width)
    small, large = _two_shapes(decoder, width, batch_tokens, seconds=seconds / 2, clock=clock)
    token = max(large[1] - small[1], 1e-9) / max(large[0] - small[0], 1)
    neighbors, ratios = _searches(decoder, distances, clock)
    return Rates(
        forward=max(0.0, small[1] - small[0] * token),
        token=token,
        candidate=_candidate(decoder, clock),
        float64=_float64(decoder, clock),
        neighbors=neighbors,
        ratios=ratios,
        words="calibration",
    )


def _two_shapes(
    decoder: Decoder, width: int, batch_tokens: int, *, seconds: float, clock: Clock
) -> tuple[tuple[int, float], tuple[int, float]]:
    """The tokens and the time of a pass of the least size, and of the largest that time allows."""
    smallest = min(_SMALLEST, decoder.context or _SMALLEST)
    _pass(decoder, 1, smallest, clock)  # the first pass of a process is slow
    small = smallest, min(_pass(decoder, 1, smallest, clock) for _ in range(2))
    large, rows, spent = small, max(1, _GROWTH * smallest // width), 0.0
    while spent < seconds:
        took = _pass(decoder, rows, width, clock)
        spent += took
        if rows * width > large[0]:
            large = rows * width, took
        if (_GROWTH * rows) * width > batch_tokens or spent + _GROWTH * took > seconds:
            break
        rows *= _GROWTH
    return small, large


def _pass(decoder: Decoder, rows: int, width: int, clock: Clock) -> float:
    ids = torch.randint(decoder.vocab_size, (rows, width), generator=_seeded())
    last = torch.full((rows,), width - 1)
    return _timed(decoder, partial(decoder.states, ids, decoder.layers, positions=last), clock)


def _candidate(decoder: Decoder, clock: Clock) -> float:
    length = min(_PREFIX, (decoder.context or _PREFIX) - 1)
    prefix = decoder.prefix(
        torch.randint(decoder.vocab_size, (length,), generator=_seeded()), "norm"
    )
    tokens = torch.randint(decoder.vocab_size, (_CANDIDATES,), generator=_seeded())
    run = partial(decoder.candidates, prefix, tokens, ["norm"])
    return min(_timed(decoder, run, clock) for _ in range(2)) / _CANDIDATES


def _float64(decoder: Decoder, clock: Clock) -> float:
    """How many times longer a product takes in float64."""
    device = decoder.device
    if device.type == "mps":  # it has no float64
        return 1.0
    took = []
    for dtype in (decoder.dtype, torch.float64):
        left = torch.ones(_TOKENS_OF_PRODUCT, decoder.hidden_size, dtype=dtype, device=device)
        right = torch.ones(decoder.hidden_size, 4 * decoder.hidden_size, dtype=dtype, device=device)
        run = partial(torch.matmul, left, right)
        took.append(min(_timed(decoder, run, clock) for _ in range(3)))
    return max(1.0, took[1] / max(took[0], 1e-9))


def _searches(decoder: Decoder, distances: PairDistances, clock: Clock) -> tuple[Search, Search]:
    """The searches of random rows: for neighbors of two numbers, for ratios of no more than prompts."""
    import numpy as np

    where = decoder.device if decoder.device.type == "cuda" else torch.device("cpu")
    every = torch.randn(_ROWS, decoder.hidden_size, generator=_seeded()).to(where)
    neighbors = [
        min(_timed(decoder, partial(nearest_neighbors, every[:n]), clock) for _ in range(2))
        for n in (_FEW_ROWS, _ROWS)
    ]
    sizes = sorted({min(one, len(distances.lengths)) for one in (_FEW_ROWS, _ROWS)})
    ratios = [
        _timed(
            decoder,
            partial(
                extreme_ratios, every[:n], distances.take(np.arange(n), afresh=True), "smallest"
            ),
            clock,
        )
        for n in sizes
    ]
    return _search((_FEW_ROWS, _ROWS), neighbors), _search(sizes, ratios)


def _search(sizes: Sequence[int], took: Sequence[float]) -> Search:
    pairs = [n * (n - 1) / 2 for n in sizes]
    if len(sizes) == 1:
        return Search(0.0, took[0] / max(pairs[0], 1))
    pair = max(took[1] - took[0], 1e-9) / (pairs[1] - pairs[0])
    return Search(max(0.0, took[0] - pair * pairs[0]), pair)


def _timed(decoder: Decoder, run: Callable[[], object], clock: Clock) -> float:
    begun = clock()
    run()
    if decoder.device.type == "cuda":
        torch.cuda.synchronize(decoder.device)
    return clock() - begun


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
