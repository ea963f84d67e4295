"""Checks that a model computes the same states however a prompt is evaluated (SPEC sections 2 and 8).

An audit evaluates a prompt in several ways: alone, in a batch, padded on the right, behind a cached
prefix. In exact arithmetic the ways give the same states. A way that drops something (a recurrent state
behind a prefix, a mask under padding) gives other states, and every number that is computed from them is
wrong. The check runs two short prompts through each way, in true float64 where a float64 copy fits into
memory, and compares every layer at every position with the whole prompt evaluated alone.

The ways:

- ``in a batch``: the prompts together;
- ``padded on the right``: the beginnings of the prompts, of several lengths, padded with other tokens;
- ``behind a cached prefix``: the first tokens cached, the others continued in one pass;
- ``behind a prefix grown in steps``: the same, the cache extended by one token, then by several;
- ``as one-token candidates``: each of several tokens in a row of its own behind one cached prefix;
- ``as candidates side by side``: the same tokens in one row, where the attention takes masks;
- ``behind cached prefixes of several lengths``: one pass that continues the prefixes of a buffer.

Layers that round activations as they run are replaced by the dense layers they stand for: the rounding
amplifies differences in the last place and would hide what is looked for. Of a model whose blocks are on
disk the first blocks alone are run in all ways, and one block after the other is held against a whole
pass, whose bits it must have. The prompts have twelve
tokens, or slightly more than the sliding window where the model has a window of at most 32 tokens; the
check says nothing of what happens past a longer window.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.free_memory import free_memory
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.shapes import Int
from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.block_proof import verify_block_runs
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.float64 import float64_copy
from pytest_injectivity.quantization.packed_modules import numbers

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
"""The largest difference accepted, relative to the state's norm, by the dtype computed in."""

# Where not even a float32 copy fits: rounding of 16 bits over a deep model stays below (0.13 was the
# largest seen), a state that was dropped does not.
_TOLERANCE_OF_16_BITS = 0.25
_LENGTH = 12
_LONGEST_WINDOW = 32
_ROWS = 2
_FLOAT64_BYTES = 8
_FEW = 10**9
_FEW_BLOCKS = 2

States = dict[Layer, Tensor]


@dataclass(frozen=True)
class Disagreement:
    """How far one way of evaluating prompts is from the prompts evaluated whole and alone.

    Attributes:
        way: as the module's description names it.
        layer: where the difference is largest.
        relative: the largest difference of a state, divided by the state's norm; infinite where one
            of the two is finite and the other is not.
    """

    way: str
    layer: Layer
    relative: float


@dataclass(frozen=True)
class Agreement:
    """The differences between all ways of evaluating prompts.

    Attributes:
        dtype: what was computed in.
        tolerance: the largest difference accepted.
        ways: the largest difference of each way.
    """

    dtype: torch.dtype
    tolerance: float
    ways: tuple[Disagreement, ...]

    @property
    def worst(self) -> Disagreement:
        """The way that differs most."""
        return max(self.ways, key=lambda way: way.relative)


def verify_agreement(decoder: Decoder) -> Agreement:
    """Refuses a model whose states depend on the way in which a prompt is evaluated.

    Args:
        decoder: the model as it was loaded; it stays as it is.

    Returns:
        What was measured, all of it within the tolerance.

    Raises:
        ModelError: a way differs by more than the tolerance; the message names the way and the layer.

    Example:
        >>> from pytest_injectivity.models.agreement import verify_agreement
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> verify_agreement(tiny_decoder("llama")).worst.relative < 1e-12
        True
    """
    found = measure_agreement(decoder)
    worst = found.worst
    if not worst.relative <= found.tolerance:
        raise ModelError(
            f"{decoder.source} ({decoder.family.name}): states computed {worst.way} differ from those"
            f" of the same prompts alone by {worst.relative:.2g} of their norm at"
            f" {layer_id(worst.layer)} (in {str(found.dtype).removeprefix('torch.')}; at most"
            f" {found.tolerance:g} is accepted): the installed transformers does not evaluate this"
            " model that way, and an audit of it would be wrong"
        )
    if decoder.streamed is not None:
        verify_block_runs(decoder, _prompts(decoder))
    return found


def measure_agreement(decoder: Decoder, *, free: int | None = None) -> Agreement:
    """Measures how far the ways of evaluating prompts differ; refuses nothing.

    Args:
        decoder: the model as it was loaded; it stays as it is.
        free: bytes that a wider copy may take; by default a half of the device's free memory.

    Returns:
        The differences of all ways that the context leaves room for.
    """
    # A pass over a dozen tokens is hundreds of short operations, unless the model is large.
    with on_threads(1 if numbers(decoder.model) <= _FEW else torch.get_num_threads()):
        wide = _widened(decoder, free_memory(decoder.device) // 2 if free is None else free)
        layers = (0, *_layers(wide))
        rows = _prompts(wide)
        whole = _joined([wide.states(row[None], layers) for row in rows])
        ways = tuple(
            _largest(way, found, expected)
            for way, found, expected in _ways(wide, rows, whole, layers)
        )
    dtype = whole[layers[-1]].dtype
    return Agreement(dtype, TOLERANCES.get(dtype, _TOLERANCE_OF_16_BITS), ways)


def verify_agreement_once(decoder: Decoder) -> None:
    """As `verify_agreement`, once a process for all models of one configuration.

    Whether the ways agree depends on the code that a configuration selects, not on the weights.

    Raises:
        ModelError: as for `verify_agreement`.
    """
    config: Any = decoder.model.config
    # Neither what the library writes of itself and of files nor the number of tokens selects code.
    said = {
        name: value
        for name, value in config.to_dict().items()
        if not name.startswith("_") and name != "vocab_size"
    }
    streamed = decoder.streamed is not None
    held = decoder.device, decoder.shared, streamed
    key = (type(decoder.model).__name__, *held, json.dumps(said, default=str))
    if key not in _agreed():
        verify_agreement(decoder)
        _agreed().add(key)


@cache
def _agreed() -> set[tuple[Any, ...]]:
    return set()


def _widened(decoder: Decoder, free: int) -> Decoder:
    """The model in float64 where that fits, else in float32, else as it is."""
    if decoder.streamed is not None:
        return decoder
    count = numbers(decoder.model)
    fits64 = decoder.device.type != "mps" and _FLOAT64_BYTES * count <= free
    if not fits64:
        narrow = decoder.dtype not in TOLERANCES
        if not narrow or _FLOAT64_BYTES // 2 * count > free:
            return decoder
    model: Any = float64_copy(decoder.model)
    return Decoder(
        decoder.source,
        model if fits64 else model.float(),
        revision=decoder.revision,
        float64=fits64,
    )


def _layers(decoder: Decoder) -> tuple[Layer, ...]:
    """The layers that are compared: of blocks that are on disk the first ones, with one of each kind."""
    if decoder.streamed is None:
        return decoder.layers
    text = decoder.model.config.get_text_config()
    said = getattr(text, "layer_types", None) or [""] * decoder.n_layers
    kinds = [(type(block), kind) for block, kind in zip(decoder.parts.blocks, said, strict=False)]
    first = max(kinds.index(kind) for kind in set(kinds)) + 1
    return decoder.layers[: min(max(first, _FEW_BLOCKS), decoder.n_layers)]


def _prompts(decoder: Decoder) -> Int[Tensor, "rows length"]:
    text: Any = decoder.model.config.get_text_config()
    windows = [
        getattr(text, name, None) or 0
        for name in ("sliding_window", "attention_chunk_size", "window_size")
    ]
    within = [one for one in windows if isinstance(one, int) and one <= _LONGEST_WINDOW]
    length = max([_LENGTH, *(one + 5 for one in within)])
    length = min(length, decoder.context or length)
    # Attention multiplies what is not seen by zero, and zero times a token's NaN is NaN.
    finite = decoder.embedding_matrix().isfinite().all(dim=1).cpu().nonzero()[:, 0]
    known = finite if len(finite) else torch.arange(decoder.vocab_size)
    drawn = torch.Generator().manual_seed(0)
    rows: Tensor = known[torch.randint(len(known), (_ROWS, length), generator=drawn)]
    return rows


def _ways(
    decoder: Decoder, rows: Tensor, whole: States, layers: tuple[Layer, ...]
) -> Iterator[tuple[str, States, States]]:
    """Each way: its name, the states it computes, and those they should equal."""
    length = rows.shape[1]
    yield "in a batch", decoder.states(rows, layers), whole
    cut = max(1, length // 2)
    padded = rows.clone()
    padded[0, cut:] = rows[1, cut:]
    found = decoder.states(padded, layers)
    yield "padded on the right", _at(found, 0, slice(cut)), _at(whole, 0, slice(cut))
    if length < 3:  # noqa: PLR2004 - a prefix of one token, and two that follow
        return
    yield from _behind_prefixes(decoder, rows, whole, layers)


def _behind_prefixes(
    decoder: Decoder, rows: Tensor, whole: States, layers: tuple[Layer, ...]
) -> Iterator[tuple[str, States, States]]:
    length, row = rows.shape[1], rows[0]
    cut = max(1, length // 2)
    prefix = decoder.prefix(row[:cut], layers[-1])
    found = decoder.states(row[None, cut:], layers, prefix=prefix)
    rest = _at(whole, 0, slice(cut, None))
    yield "behind a cached prefix", _at(found, 0, slice(None)), rest
    grown = decoder.prefix(row[:1], layers[-1])
    for begin, end in ((1, 2), (2, cut)):
        grown = decoder.extend(grown, row[begin:end])
    found = decoder.states(row[None, len(grown) :], layers, prefix=grown)
    rest_of_grown = _at(whole, 0, slice(len(grown), None))
    yield "behind a prefix grown in steps", _at(found, 0, slice(None)), rest_of_grown
    tokens = torch.stack([row[cut], rows[1, cut], row[0]])
    beside = {layer: states[:1] for layer, states in rest.items()}
    for side_by_side in (False, True) if decoder.masks else (False,):
        found = decoder.candidates(prefix, tokens, layers, side_by_side=side_by_side)
        name = "as candidates side by side" if side_by_side else "as one-token candidates"
        yield name, {layer: states[:1] for layer, states in found.items()}, beside
    yield (
        "behind cached prefixes of several lengths",
        *_from_buffer(decoder, rows, whole, layers[-1]),
    )


def _from_buffer(
    decoder: Decoder, rows: Tensor, whole: States, deepest: Layer
) -> tuple[States, States]:
    """The states of two tokens, continued from a buffer of prefixes of two lengths."""
    length = rows.shape[1]
    lengths = [length - 2, max(1, length - 3)]
    buffer = decoder.prefix_buffer(_ROWS, length, deepest)
    numbered = list(range(_ROWS))
    buffer.keep(decoder.continued(buffer, numbered, rows[:, : lengths[0]]), lengths)
    after = torch.stack([row[at : at + 2] for row, at in zip(rows, lengths, strict=True)])
    found = decoder.continued(buffer, numbered, after).states
    expected = [states[at : at + 2] for states, at in zip(whole[deepest], lengths, strict=True)]
    return {deepest: found.flatten(0, 1)}, {deepest: torch.cat(expected)}


def _joined(alone: list[States]) -> States:
    return {layer: torch.cat([states[layer] for states in alone]) for layer in alone[0]}


def _at(states: States, row: int, places: slice) -> States:
    return {layer: one[row, places] for layer, one in states.items()}


def _largest(way: str, found: States, expected: States) -> Disagreement:
    differences = {layer: _relative(found[layer], expected[layer]) for layer in found}
    layer = max(differences, key=lambda one: differences[one])
    return Disagreement(way, layer, differences[layer])


def _relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference of a row, by its norm; rows finite in neither are left to the audit."""
    both = found.isfinite().all(-1) & expected.isfinite().all(-1)
    if not found.isfinite().all(-1).equal(expected.isfinite().all(-1)):
        return float("inf")
    apart = (found - expected).norm(dim=-1)[both]
    norms = expected.norm(dim=-1)[both]
    relative = torch.where(apart == 0, 0.0, apart / norms)
    return float(relative.max()) if relative.numel() else 0.0
