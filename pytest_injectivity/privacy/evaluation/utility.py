"""The utility of a release: how well a pass that goes on from it predicts next tokens (SPEC section 5).

At each position the next-token distribution of the receiver's pass is compared with the unreleased one:
do both prefer the same token, and what is the divergence ``KL(unreleased || released)`` in nats? Of
keys and values the token after the prompt alone is compared: its last token is run after the cache
transferred.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.divergence import compare_logits
from pytest_injectivity.models.resume import logits, logits_from_cache, logits_from_states
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from pytest_injectivity.privacy.releases.protocol import Release, draws

LOGITS = 2**25
"""Default bound of the number of logits held at once: 256 MB in float64."""


@dataclass(frozen=True)
class Utility:
    """Next-token predictions of a release's receiver; one number a prompt in each field.

    Attributes:
        judged: number of positions at which the two passes are compared.
        agreed: number of positions at which both passes prefer the same token.
        divergence: sum of ``KL(unreleased || released)`` over the positions, in nats; NaN where a logit
            is NaN.
        guessed: number of positions at which the unreleased pass prefers the prompt's own next token:
            an attacker can guess as much from the tokens before, without any released row.
        guesses: number of positions that have a next token in the prompt.
    """

    judged: tuple[int, ...]
    agreed: tuple[int, ...]
    divergence: tuple[float, ...]
    guessed: tuple[int, ...]
    guesses: tuple[int, ...]

    @property
    def agreement(self) -> float:
        """The share of positions at which both passes prefer the same token."""
        return sum(self.agreed) / sum(self.judged)

    @property
    def mean_divergence(self) -> float:
        """The mean ``KL(unreleased || released)`` of a position, in nats; NaN where a logit is NaN."""
        return math.fsum(self.divergence) / sum(self.judged)


def why_no_utility(decoder: Decoder, place: Place, prompts: Sequence[Sequence[int]]) -> str:
    """Why no pass can go on from what is observed at a place; empty where one can."""
    if place.cached and not (place.everywhere and decoder.family.prefix == "keys-values"):
        return "the receiver has a part of the cache, behind which nothing can be read"
    if place.cached and min(map(len, prompts)) < 2:  # noqa: PLR2004 - a token behind a cache
        return "prompts of one token leave no cache to read it behind"
    if place.of_states and not place.everywhere and not decoder.masks:
        return "the model cannot go on from some of the positions: its blocks count them themselves"
    return ""


def measure_utility(
    decoder: Decoder,
    observed: Observed,
    releases: Sequence[Release],
    seed: int,
    progress: Callable[[int], None] | None = None,
    *,
    most_logits: int = LOGITS,
) -> tuple[Utility, ...]:
    """The utility of each release over the prompts observed.

    Args:
        decoder: the model of the sender and the receiver.
        observed: the rows and their prompts, at a place that a pass can go on from (`why_no_utility`).
        releases: releases of these rows.
        seed: seed of the secret draws, as in `Observed.released`.
        progress: called with the number of prompts done.
        most_logits: bound of the number of logits held at once.
    """
    found: list[list[tuple[int, int, float, int, int]]] = [[] for _ in releases]
    compare: Callable[..., list[tuple[int, int, float, int, int]]] = _compare_cached
    if observed.place.what == "logits":
        compare = _compare_logits
    elif observed.place.of_states:
        compare = partial(_compare_states, most_logits=most_logits)
    for prompt in range(len(observed.prompts)):
        compared = compare(decoder, observed, prompt, releases, seed)
        for kept, numbers in zip(found, compared, strict=True):
            kept.append(numbers)
        if progress is not None:
            progress(prompt + 1)
    return tuple(Utility(*zip(*numbers, strict=True)) for numbers in found)


def _compare_states(
    decoder: Decoder,
    observed: Observed,
    prompt: int,
    releases: Sequence[Release],
    seed: int,
    *,
    most_logits: int,
) -> list[tuple[int, int, float, int, int]]:
    ids, rows = observed.prompts[prompt], observed.rows[prompt]
    tokens, at = torch.tensor(ids), list(observed.positions(prompt))
    whole = logits(decoder, tokens)
    unreleased = whole[at]
    received = [_received(one, rows, ids, seed) for one in releases]
    step = max(1, most_logits // unreleased.numel())
    judged: list[tuple[int, float]] = []
    for start in range(0, len(received), step):
        versions = torch.stack(received[start : start + step])
        positions = None if observed.place.everywhere else at
        released = logits_from_states(decoder, tokens[at], observed.layer, versions, positions)
        judged += [_compared(unreleased, one) for one in released]
    guesses = _guesses(whole[:-1], tokens[1:])
    return [(len(at), agreed, divergence, *guesses) for agreed, divergence in judged]


def _compare_logits(
    decoder: Decoder, observed: Observed, prompt: int, releases: Sequence[Release], seed: int
) -> list[tuple[int, int, float, int, int]]:
    """The receiver takes the logits as they come: no pass goes on from them."""
    ids, rows = observed.prompts[prompt], observed.rows[prompt]
    tokens = torch.tensor(ids)
    guesses = _guesses(logits(decoder, tokens)[:-1], tokens[1:])
    return [
        (len(rows), *_compared(rows, _received(one, rows, ids, seed)), *guesses) for one in releases
    ]


def _compare_cached(
    decoder: Decoder, observed: Observed, prompt: int, releases: Sequence[Release], seed: int
) -> list[tuple[int, int, float, int, int]]:
    ids = observed.prompts[prompt]
    tokens, block = torch.tensor(ids), int(observed.layer)
    both = observe_place(decoder, Place(block, "kv"), [ids])
    keys, values = torch.split(both.rows[0], list(both.sides), dim=1)
    sides = [(keys[:-1], values[:-1])]
    for release in releases:
        received = torch.split(
            _received(release, observed.rows[prompt], ids, seed), list(observed.sides), dim=1
        )
        what = observed.place.what
        new_keys = keys if what == "values" else received[0]
        new_values = values if what == "keys" else received[-1]
        sides.append((new_keys[:-1], new_values[:-1]))
    unreleased, *released = logits_from_cache(decoder, tokens, block, sides)
    guesses = _guesses(logits(decoder, tokens)[:-1], tokens[1:])
    compared = [_compared(unreleased[None], one[None]) for one in released]
    return [(1, agreed, divergence, *guesses) for agreed, divergence in compared]


def _received(
    release: Release, rows: Float[Tensor, "positions width"], ids: tuple[int, ...], seed: int
) -> Float[Tensor, "positions width"]:
    return release.undo(release.apply(rows, draws(seed, ids)), draws(seed, ids))


def _compared(
    unreleased: Float[Tensor, "positions vocab"], released: Float[Tensor, "positions vocab"]
) -> tuple[int, float]:
    """The number of positions at which both prefer the same token, and the sum of divergences."""
    found = compare_logits(unreleased, released)
    return int(found.agreed.sum()), float(found.nats.sum())


def _guesses(logits_before: Float[Tensor, "positions vocab"], tokens: Tensor) -> tuple[int, int]:
    return int((logits_before.argmax(dim=1).cpu() == tokens).sum()), len(tokens)
