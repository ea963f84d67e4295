"""Calibrates lenses: draws sequences, runs them through the model and keeps each lens that was fitted.

Sequences are random, and every token appears equally often in them, so that what the context adds to a
token's state averages out. Position 0 is left out: the norms, and so the covariances, of attention sinks
are far above the rest. Where the table of position 0 is too large to compute, it has a lens of its own
(:func:`calibrate_first`).
"""

from collections.abc import Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.lens_fitting import fit_lens
from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.known_tokens import known_tokens
from pytest_injectivity.states.batches import plan_batches

CALIBRATION_TOKENS = 2**15
"""Tokens a calibration runs at most: seconds for a small model."""

# A vocabulary beyond this many tokens is calibrated by a part of it, a multiple of the width: what
# the linear map of 2 x width numbers needs.
_LARGE_VOCABULARY = 2**15
_TOKENS_A_WIDTH = 16
# More states of a token add little to its mean, and more samples little to the map; and a calibration
# must stay below the search that it saves.
_TIMES_A_TOKEN = 4
_TIMES_A_WIDTH = 64
_SHARE_OF_SEARCH = 0.25
_FEWEST_ROWS = 32
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Share:
    """What all prompts of an inversion are, where a part of them is inverted.

    Attributes:
        positions: of all of them.
        longest: tokens of the longest.
        threads: those on which a lens is calibrated; None: as many as there are.
    """

    positions: int
    longest: int
    threads: int | None = None

    @classmethod
    def of(cls, prompts: Sequence[Sized]) -> "Share":
        """Of all prompts, or of their states."""
        return cls(sum(map(len, prompts)), max(map(len, prompts)))

    def threads_of_all(self) -> AbstractContextManager[None]:
        """Calibrates on these threads: the last bits of a lens depend on how many there are."""
        return nullcontext() if self.threads is None else on_threads(self.threads)


class Lenses:
    """Lenses by model and by everything that their calibration was asked for.

    A lens for prompts of other lengths, or behind other known tokens, is another lens.
    """

    def __init__(self) -> None:
        self._held: WeakKeyDictionary[Decoder, dict[tuple[object, ...], Lens]] = WeakKeyDictionary()

    def calibrated(
        self,
        decoder: Decoder,
        layer: Layer,
        *,
        tokens: int,
        length: int,
        known: Sequence[int] = (),
        seed: int = 0,
    ) -> Lens:
        """The lens that :func:`calibrate` fits, fitted the first time these arguments are given."""
        held = self._held.setdefault(decoder, {})
        key = (layer, tokens, length, tuple(known), seed)
        if key not in held:
            held[key] = calibrate(
                decoder, layer, tokens=tokens, length=length, known=known, seed=seed
            )
        return held[key]


def calibration_size(vocab_size: int, hidden_size: int, positions: int) -> int:
    """How many tokens a calibration runs for so many positions to invert.

    As many as token means and the linear map need, and at most a quarter of brute force.
    """
    most = CALIBRATION_TOKENS
    if vocab_size > _LARGE_VOCABULARY:
        most = min(most, _TOKENS_A_WIDTH * hidden_size)
    enough = max(_TIMES_A_TOKEN * vocab_size, _TIMES_A_WIDTH * hidden_size)
    return max(1, min(most, enough, int(_SHARE_OF_SEARCH * positions * vocab_size)))


def calibrate(
    decoder: Decoder,
    layer: Layer,
    *,
    tokens: int = CALIBRATION_TOKENS,
    length: int = 64,
    known: Sequence[int] = (),
    seed: int = 0,
) -> Lens:
    """Fits the lens of one layer.

    Args:
        decoder: the model.
        layer: the layer.
        tokens: how many to run; :func:`calibration_size` says how many are worth it.
        length: of the prompts to be inverted, known tokens included.
        known: tokens every prompt begins with.
        seed: of the sequences.
    """
    usable = usable_tokens(decoder)
    drawn = balanced_sequences(usable, tokens, max(2, length - len(known)), seed)
    states = _states(decoder, layer, drawn, known)
    skipped = 0 if known else 1
    return fit_lens(
        decoder.embedding_matrix(),
        usable,
        states[:, skipped:],
        drawn[:, skipped:],
        len(known) + skipped,
        drawn.numel(),
    )


def calibrate_first(decoder: Decoder, layer: Layer, *, tokens: int, seed: int = 0) -> Lens:
    """Fits the lens of position 0, which is like no other.

    Args:
        decoder: the model.
        layer: the layer.
        tokens: how many to run, each alone.
        seed: which.
    """
    usable = usable_tokens(decoder)
    drawn = balanced_sequences(usable, tokens, 1, seed)
    states = OneStep.of(decoder, layer, ())(drawn[:, 0])[:, None]
    return fit_lens(decoder.embedding_matrix(), usable, states, drawn, 0, drawn.numel())


def usable_tokens(decoder: Decoder) -> Int[Tensor, " tokens"]:
    """The tokens that the tokenizer has whose embedding rows are finite."""
    known = torch.from_numpy(known_tokens(decoder.tokenizer, decoder.vocab_size))
    return known[decoder.embedding_matrix().isfinite().all(dim=1).cpu()[known]]


def balanced_sequences(
    usable: Int[Tensor, " tokens"], count: int, length: int, seed: int
) -> Int[Tensor, "rows length"]:
    """Rows in which every token appears equally often, a part of the tokens where they are many."""
    generator = np.random.default_rng(seed)
    # Position 0 is not used, and a mean over few rows is none.
    length = min(length, max(2, count // _FEWEST_ROWS))
    rows = max(2, count // length)
    needed = rows * length
    if not len(usable):
        return torch.zeros(rows, length, dtype=torch.long)
    passes = [generator.permutation(usable.numpy()) for _ in range(-(-needed // len(usable)))]
    return torch.from_numpy(np.concatenate(passes)[:needed].reshape(rows, length).copy())


def _states(
    decoder: Decoder, layer: Layer, drawn: Int[Tensor, "rows length"], known: Sequence[int]
) -> Float[Tensor, "rows length hidden"]:
    """The states of rows that begin with the known tokens, those left out."""
    prompts = [[*known, *row] for row in drawn.tolist()]
    found = []
    for batch in plan_batches(
        [len(prompt) for prompt in prompts], batch_tokens=_BATCH_TOKENS, context=decoder.context
    ):
        states = decoder.states(batch.ids(prompts), [layer])[layer]
        found.append(states[: len(batch.rows), len(known) : len(prompts[0])])
    return torch.cat(found)
