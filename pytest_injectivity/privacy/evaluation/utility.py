"""What is left of a release's use: the pass that goes on from what the receiver has (SPEC section 5).

At each position the next-token distribution of that pass is held against the unreleased one: whether
both prefer the same token, and the divergence ``KL(unreleased || released)`` in nats. Of keys and
values it is the token after the prompt, read by a last token behind the cache that was transferred.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.resume import logits, logits_from_cache, logits_from_states
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from pytest_injectivity.privacy.releases.protocol import Release, draws

# Logits held at once, as float64: 256 MB.
_ELEMENTS = 2**25


@dataclass(frozen=True)
class Utility:
    """How a release's receiver predicts the next token, of each prompt.

    Attributes:
        judged: positions at which the two passes are compared.
        agreed: at how many both prefer the same token.
        divergence: the sum of ``KL(unreleased || released)`` over them, in nats; NaN where a logit is.
        guessed: at how many positions with a next token in the prompt the unreleased pass prefers
            that very token: what an attacker guesses who sees the model and the prompt so far alone.
        guesses: how many such positions there are.
    """

    judged: tuple[int, ...]
    agreed: tuple[int, ...]
    divergence: tuple[float, ...]
    guessed: tuple[int, ...]
    guesses: tuple[int, ...]

    @property
    def agreement(self) -> float:
        """The share of positions at which both prefer the same token."""
        return sum(self.agreed) / sum(self.judged)

    @property
    def mean_divergence(self) -> float:
        """``KL`` at a position on average, in nats; NaN where a logit is."""
        return math.fsum(self.divergence) / sum(self.judged)


def why_no_utility(decoder: Decoder, place: Place, prompts: Sequence[Sequence[int]]) -> str:
    """Why nothing goes on from what is observed at a place; empty where the pass does."""
    if place.cached and not (place.everywhere and decoder.family.prefix == "keys-values"):
        return "the receiver has a part of the cache, behind which nothing can be read"
    if place.cached and min(map(len, prompts)) < 2:  # noqa: PLR2004 - a token behind a cache
        return "prompts of one token leave no cache to read it behind"
    if not place.everywhere and not decoder.masks:
        return "the model cannot go on from some of the positions: its blocks count them themselves"
    return ""


def measure_utility(
    decoder: Decoder,
    observed: Observed,
    releases: Sequence[Release],
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Utility, ...]:
    """The utility of each release over the prompts observed.

    Args:
        decoder: the receiver's model, the sender's too.
        observed: the rows and their prompts; see `why_no_utility` for which a pass goes on from.
        releases: of these rows.
        seed: of the draws: what is judged is what `Observed.released` gives.
        progress: called with the number of prompts done.
    """
    found: list[list[tuple[int, int, float, int, int]]] = [[] for _ in releases]
    compare = _compare_cached if observed.place.cached else _compare_states
    for prompt in range(len(observed.prompts)):
        for kept, numbers in zip(
            found, compare(decoder, observed, prompt, releases, seed), strict=True
        ):
            kept.append(numbers)
        if progress is not None:
            progress(prompt + 1)
    return tuple(Utility(*zip(*numbers, strict=True)) for numbers in found)


def _compare_states(
    decoder: Decoder, observed: Observed, prompt: int, releases: Sequence[Release], seed: int
) -> list[tuple[int, int, float, int, int]]:
    ids, rows = observed.prompts[prompt], observed.rows[prompt]
    tokens, at = torch.tensor(ids), list(observed.positions(prompt))
    whole = logits(decoder, tokens)
    unreleased = whole[at]
    received = [_received(one, rows, ids, seed) for one in releases]
    step = max(1, _ELEMENTS // unreleased.numel())
    judged: list[tuple[int, float]] = []
    for start in range(0, len(received), step):
        versions = torch.stack(received[start : start + step])
        positions = None if observed.place.everywhere else at
        released = logits_from_states(decoder, tokens[at], observed.layer, versions, positions)
        judged += [_compared(unreleased, one) for one in released]
    guesses = _guesses(whole[:-1], tokens[1:])
    return [(len(at), agreed, divergence, *guesses) for agreed, divergence in judged]


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
    """At how many positions both prefer one token, and the divergence summed."""
    same = unreleased.argmax(dim=1) == released.argmax(dim=1)
    # What is no number prefers nothing.
    agreed = int((same & released.isfinite().any(dim=1) & ~released.isnan().any(dim=1)).sum())
    one, other = (side.cpu().double().log_softmax(dim=1) for side in (unreleased, released))
    # A token that neither can say (a logit of minus infinity) adds nothing.
    apart = torch.where(one.isneginf(), 0.0, one.exp() * (one - other))
    return agreed, float(apart.sum())


def _guesses(logits_before: Float[Tensor, "positions vocab"], tokens: Tensor) -> tuple[int, int]:
    return int((logits_before.argmax(dim=1).cpu() == tokens).sum()), len(tokens)
