"""Compares, in true float64, the ways in which a decoder's states are computed (SPEC sections 2 and 8).

Whole rows that are run alone are what every other way is held against: the same rows in a batch, padded,
behind a prefix, continued in a buffer of prefixes, as candidates of one prefix. Nothing is shared with
the check of a loaded model: rows, cuts and comparison are this module's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder

# Past the sliding window of the small models, which is 8, and around their chunks of 4 and 8.
_LENGTHS = (27, 27, 18, 9, 2)
_CUTS = (1, 8, 17)
_CANDIDATES = 3


@dataclass(frozen=True)
class Way:
    """How far the states of one way are from those of rows run whole and alone.

    Attributes:
        name: of the way.
        layer: where the states differ most.
        difference: the largest distance of two states of one token, by the norm of the state.
    """

    name: str
    layer: Layer
    difference: float


def furthest_ways(decoder: Decoder, seed: int = 0) -> list[Way]:
    """For each way of evaluation the layer at which it is furthest from rows run alone.

    Args:
        decoder: computes in true float64 (`Decoder.as_float64`).
        seed: of the rows of tokens.
    """
    furthest: dict[str, Way] = {}
    for name, layer, found, expected in _compared(decoder, _rows(decoder, seed)):
        difference = _relative(found, expected)
        # Whatever is no number is the largest difference there is.
        if name not in furthest or not difference <= furthest[name].difference:
            furthest[name] = Way(name, layer, difference)
    return list(furthest.values())


def narrow_operations(decoder: Decoder) -> list[str]:
    """The operations of one pass that give a floating-point tensor narrower than float64."""
    seen = _Narrow()
    row = torch.arange(12)[None] % decoder.vocab_size
    with seen:
        decoder.states(row, list(decoder.layers))
    return sorted(seen.names)


def float32_difference(decoder: Decoder, wide: Decoder) -> float:
    """The largest distance of a float32 decoder's states to the same weights in float64, relative."""
    row = _rows(decoder, 0)[0][None]
    found = decoder.states(row, list(decoder.layers))
    expected = wide.states(row, list(decoder.layers))
    return max(_relative(found[layer].double(), expected[layer]) for layer in decoder.layers)


class _Narrow(TorchDispatchMode):
    """Collects the names of operations whose results are narrower than float64."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs the operation and looks at what it gives."""
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(one, Tensor) and one.is_floating_point() and one.dtype != torch.float64:
                self.names.add(str(func))
        return found


def _rows(decoder: Decoder, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    longest = decoder.context or max(_LENGTHS)
    return [
        torch.randint(decoder.vocab_size, (min(length, longest),), generator=generator)
        for length in _LENGTHS
    ]


def _compared(decoder: Decoder, rows: list[Tensor]) -> Iterator[tuple[str, Layer, Tensor, Tensor]]:
    layers: list[Layer] = [0, *decoder.layers]
    alone = [{k: v[0] for k, v in decoder.states(row[None], layers).items()} for row in rows]
    pair = decoder.states(torch.stack(rows[:2]), layers)
    yield from _each("batched", layers, pair, alone[:2])
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
    yield from _each("padded", layers, decoder.states(padded, layers), alone)
    for cut in _CUTS:
        longer = [at for at, row in enumerate(rows) if len(row) > cut]
        for at in longer:
            prefix = decoder.prefix(rows[at][:cut], "norm")
            rest = rows[at][cut:]
            found = decoder.states(torch.stack([rest.flip(0), rest]), layers, prefix=prefix)
            for layer in layers:
                yield "prefix", layer, found[layer][1], alone[at][layer][cut:]
            # In two steps, and by the last token alone.
            if len(rest) > len(rows[-1]):
                stepped = decoder.extend(decoder.extend(prefix, rest[:1]), rest[1:-1])
                found = decoder.states(rest[-1:][None], layers, prefix=stepped)
                for layer in layers:
                    yield "prefix", layer, found[layer][0], alone[at][layer][-1:]
    yield from _candidates(decoder, rows[0], layers)
    yield "logits", "norm", decoder.next_token_logits(rows[0])[None], _logits(decoder, rows[0])
    yield from _buffered(decoder, rows, layers[-1], alone)


def _logits(decoder: Decoder, row: Tensor) -> Tensor:
    """The library's own logits after a row of tokens."""
    with torch.no_grad(), decoder.running():
        logits: Tensor = decoder.model(input_ids=row[None], use_cache=False).logits
    return logits[:, -1]


def _each(
    name: str, layers: list[Layer], found: dict[Layer, Tensor], alone: list[dict[Layer, Tensor]]
) -> Iterator[tuple[str, Layer, Tensor, Tensor]]:
    for layer in layers:
        for at, expected in enumerate(alone):
            yield name, layer, found[layer][at, : len(expected[layer])], expected[layer]


def _candidates(
    decoder: Decoder, row: Tensor, layers: list[Layer]
) -> Iterator[tuple[str, Layer, Tensor, Tensor]]:
    tokens = torch.arange(_CANDIDATES) * 7 % decoder.vocab_size
    for cut in (*(cut for cut in _CUTS if cut < len(row)), len(row) - 1):
        prefix = decoder.prefix(row[:cut], "norm")
        found = decoder.candidates(prefix, tokens, layers)
        for at, token in enumerate(tokens):
            whole = torch.cat([row[:cut], token[None]])[None]
            expected = decoder.states(whole, layers)
            for layer in layers:
                yield "candidates", layer, found[layer][at][None], expected[layer][0, -1:]


def _buffered(
    decoder: Decoder, rows: list[Tensor], depth: Layer, alone: list[dict[Layer, Tensor]]
) -> Iterator[tuple[str, Layer, Tensor, Tensor]]:
    prefixes = decoder.prefix_buffer(len(rows), max(map(len, rows)), depth)
    cached = [0] * len(rows)
    for steps in ((5, 1, 2, 3, 1), (9, 2, 8, 1, 1), (1, 8, 1, 1, 1)):
        active = [at for at, row in enumerate(rows) if cached[at] < len(row)]
        ids = torch.nn.utils.rnn.pad_sequence(
            [rows[at][cached[at] :] for at in active], batch_first=True, padding_value=1
        )
        found = decoder.continued(prefixes, active, ids)
        for place, at in enumerate(active):
            expected = alone[at][depth][cached[at] :]
            yield "buffered", depth, found.states[place, : len(expected)], expected
        counts = [min(steps[at], len(rows[at]) - cached[at]) for at in active]
        prefixes.keep(found, counts)
        for at, count in zip(active, counts, strict=True):
            cached[at] += count


def _relative(found: Tensor, expected: Tensor) -> float:
    gap = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    return float(gap.max()) if bool(gap.isfinite().all()) else float("nan")
