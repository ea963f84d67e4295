"""The utility of a release: how well a pass that goes on from it predicts next tokens (SPEC section 5).

At each position the next-token distribution of the receiver's pass is compared with the unreleased one:
do both prefer the same token, and what is the divergence ``KL(unreleased || released)`` in nats? And how
likely are the prompt's own next tokens, as a ratio of both perplexities? Of keys and values the token
after the prompt alone is compared: its last token is run after the cache transferred. A prompt does not
say that token, so there is no perplexity.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.divergence import compare_logits
from pytest_injectivity.models.resume import Pairs, logits, logits_from_cache, logits_from_states
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from pytest_injectivity.privacy.releases.protocol import Release, draws

LOGITS = 2**25
"""Default bound of the number of logits held at once: 256 MB in float64."""

# The logarithm of the largest ratio of perplexities stated.
_MOST_NATS = 700.0


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
        continued: number of positions, of those at which the two passes are compared, that have a next
            token in the prompt.
        surprise: sum of minus the logarithm of the unreleased pass's probability of these tokens.
        surprise_released: the same of the receiver's pass.
    """

    judged: tuple[int, ...]
    agreed: tuple[int, ...]
    divergence: tuple[float, ...]
    guessed: tuple[int, ...]
    guesses: tuple[int, ...]
    continued: tuple[int, ...] = ()
    surprise: tuple[float, ...] = ()
    surprise_released: tuple[float, ...] = ()

    @property
    def agreement(self) -> float:
        """The share of positions at which both passes prefer the same token."""
        return sum(self.agreed) / sum(self.judged)

    @property
    def mean_divergence(self) -> float:
        """The mean ``KL(unreleased || released)`` of a position, in nats; NaN where a logit is NaN."""
        return math.fsum(self.divergence) / sum(self.judged)

    @property
    def perplexity_ratio(self) -> float:
        """The receiver's perplexity over the unreleased pass's; NaN where no next token is known."""
        if not sum(self.continued):
            return math.nan
        more = math.fsum(self.surprise_released) - math.fsum(self.surprise)
        # Both may be infinite, and what is far above any perplexity overflows.
        return math.exp(min(more / sum(self.continued), _MOST_NATS))


class _Compared(NamedTuple):
    """A prompt's numbers, in the order of the fields of `Utility`."""

    judged: int
    agreed: int
    divergence: float
    guessed: int
    guesses: int
    continued: int = 0
    surprise: float = 0.0
    surprise_released: float = 0.0


class _Next(NamedTuple):
    """The positions compared that have a next token in the prompt, and these tokens."""

    positions: list[int]
    tokens: Tensor

    @classmethod
    def of(cls, tokens: Tensor, at: Sequence[int]) -> "_Next":
        some = [row for row, position in enumerate(at) if position + 1 < len(tokens)]
        return cls(some, tokens[[at[row] + 1 for row in some]])

    def surprise(self, logits: Float[Tensor, "positions vocab"]) -> float:
        """Minus the logarithm of the tokens' probability, summed."""
        kept = logits[self.positions].cpu().double().log_softmax(dim=1)
        return -float(kept.gather(1, self.tokens[:, None]).sum())


def why_no_utility(decoder: Decoder, place: Place, prompts: Sequence[Sequence[int]]) -> str:
    """Why no pass can go on from what is observed at a place; empty where one can."""
    if place.averaged:
        return "no pass goes on from the mean of positions"
    if place.recorded:
        return f"no pass goes on from {place.recorded} alone"
    if place.cached and not (place.everywhere and decoder.family.prefix == "keys-values"):
        return "the receiver has a part of the cache, behind which nothing can be read"
    if place.cached and min(map(len, prompts)) < 2:  # noqa: PLR2004 - a token behind a cache
        return "prompts of one token leave no cache to read it behind"
    if place.what == "states" and not place.everywhere and not decoder.masks:
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
    found: list[list[_Compared]] = [[] for _ in releases]
    compare: Callable[..., list[_Compared]] = _compare_cached
    if observed.place.what == "logits":
        compare = _compare_logits
    elif observed.place.what == "states":
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
) -> list[_Compared]:
    ids, rows = observed.prompts[prompt], observed.rows[prompt]
    tokens, at = torch.tensor(ids), list(observed.positions(prompt))
    whole = logits(decoder, tokens)
    unreleased = whole[at]
    # Of two layers the pass goes on from the deeper one.
    width = observed.sides[0]
    received = [_received(one, rows, ids, seed)[:, :width] for one in releases]
    step = max(1, most_logits // unreleased.numel())
    following = _Next.of(tokens, at)
    guesses, own = _guesses(whole[:-1], tokens[1:]), following.surprise(unreleased)
    compared: list[_Compared] = []
    for start in range(0, len(received), step):
        versions = torch.stack(received[start : start + step])
        positions = None if observed.place.everywhere else at
        released = logits_from_states(decoder, tokens[at], observed.layer, versions, positions)
        compared += [
            _Compared(
                len(at),
                *_compared(unreleased, one),
                *guesses,
                len(following.positions),
                own,
                following.surprise(one),
            )
            for one in released
        ]
    return compared


def _compare_logits(
    decoder: Decoder, observed: Observed, prompt: int, releases: Sequence[Release], seed: int
) -> list[_Compared]:
    """The receiver takes the logits as they come: no pass goes on from them."""
    ids, rows = observed.prompts[prompt], observed.rows[prompt]
    tokens = torch.tensor(ids)
    guesses = _guesses(logits(decoder, tokens)[:-1], tokens[1:])
    following = _Next.of(tokens, list(observed.positions(prompt)))
    known, own = len(following.positions), following.surprise(rows)
    received = [_received(one, rows, ids, seed) for one in releases]
    return [
        _Compared(len(rows), *_compared(rows, one), *guesses, known, own, following.surprise(one))
        for one in received
    ]


def _compare_cached(
    decoder: Decoder, observed: Observed, prompt: int, releases: Sequence[Release], seed: int
) -> list[_Compared]:
    ids = observed.prompts[prompt]
    tokens, place = torch.tensor(ids), observed.place
    whole = place if place.what == "cache" else Place(place.layer, "kv")
    own = _pairs(observe_place(decoder, whole, [ids]))
    versions = [own]
    for release in releases:
        received = replace(observed, rows=(_received(release, observed.rows[prompt], ids, seed),))
        if place.what == "keys":
            versions.append([(received.rows[0][:-1], own[0][1])])
        elif place.what == "values":
            versions.append([(own[0][0], received.rows[0][:-1])])
        else:
            versions.append(_pairs(received))
    unreleased, *released = logits_from_cache(decoder, tokens, place.blocks, versions)
    guesses = _guesses(logits(decoder, tokens)[:-1], tokens[1:])
    compared = [_compared(unreleased[None], one[None]) for one in released]
    return [_Compared(1, agreed, divergence, *guesses) for agreed, divergence in compared]


def _pairs(observed: Observed) -> list[Pairs]:
    """The keys and values of each block, of all tokens of the first prompt but the last."""
    sides = torch.split(observed.rows[0][:-1], list(observed.sides), dim=1)
    return list(zip(sides[::2], sides[1::2], strict=True))


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
