"""The next-token distributions of a model compared with its parent's, kept in the store."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.summary import Estimate, NextToken, finite
from pytest_injectivity.stats import clustered_mean, clustered_quantile, clustered_rate

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.next_token import NextTokens

CONFIDENCE = 0.95
"""The level of the intervals that are shown."""


@dataclass(frozen=True)
class NextTokensKey(NumberKey):
    """Names the comparison of two models' next-token distributions.

    Attributes:
        prompts: how many prompts are read at most.
        tokens: how many tokens of each.
        second_half: whether the second half of each prompt is compared, or all but position 0.
    """

    prompts: int
    tokens: int
    second_half: bool


def next_tokens(
    against: "Against", prompts: int, tokens: int, *, second_half: bool
) -> "NextTokens":
    """The comparison at every position, with both models in memory; the store keeps the result.

    Args:
        against: the model and its parent.
        prompts: how many prompts are read at most, those of smallest hash.
        tokens: how many tokens of each are read at most.
        second_half: see `judged_positions`.

    Raises:
        OptionError: no prompt is long enough.
    """
    chosen = chosen_prompts(against, prompts, tokens, second_half=second_half)

    def compare() -> "NextTokens":
        from dataclasses import replace

        from pytest_injectivity.reference.next_token import compare_next_tokens

        child, parent = against.child.target, against.parent.target
        child.foretelling.before(lambda costs: costs.next_tokens(prompts=prompts, tokens=tokens))
        # Both are held here, so that neither is unloaded for the other.
        model, other = child.decoder, parent.decoder
        ids = [child.prompts.ids[row][:tokens] for row in chosen]
        with child.watcher.progress("next tokens", len(ids)) as advance:
            found = compare_next_tokens(
                model, other, ids, second_half=second_half, progress=advance
            )
        return replace(found, prompt=np.array(chosen, dtype=np.int64)[found.prompt])

    return against.remember(NextTokensKey(prompts, tokens, second_half), compare)


def next_token_of(
    found: "NextTokens", *, second_half: bool, by_layer: dict[str, Estimate]
) -> NextToken:
    """The comparison as plain data: numbers with their intervals at 95 %.

    Args:
        found: the comparison.
        second_half: as it was asked for.
        by_layer: the mean divergence where the parent goes on from the model's states of a layer.
    """
    return NextToken(
        prompts=len(np.unique(found.prompt)),
        positions=len(found.prompt),
        second_half=second_half,
        lost=int(found.lost.sum()),
        reference_lost=int(found.parents_lost.sum()),
        kl=_estimate(mean_divergence(found, CONFIDENCE)),
        kl_q99=_estimate(divergence_quantile(found, 0.01, CONFIDENCE)),
        kl_q999=_estimate(divergence_quantile(found, 0.001, CONFIDENCE)),
        kl_max=finite(float(found.nats.max())),
        top1=_estimate(agreement(found, CONFIDENCE)),
        elsewhere=float(np.nan_to_num(found.elsewhere).max()),
        kl_by_position=_by_position(found),
        kl_by_layer=by_layer,
    )


def mean_divergence(found: "NextTokens", confidence: float) -> tuple[float, Interval]:
    """The mean divergence of a position in nats, and its interval, clustered by prompt."""
    return clustered(found.nats, found.prompt, confidence)


def divergence_quantile(found: "NextTokens", q: float, confidence: float) -> tuple[float, Interval]:
    """The divergence that a share q of positions exceeds, interpolated as llama.cpp does."""
    if not np.isfinite(found.nats).all():
        return math.nan, Interval(0.0, math.inf, confidence)
    value = float(np.quantile(found.nats, 1.0 - q))
    return value, clustered_quantile(found.nats, found.prompt, q, confidence)


def agreement(found: "NextTokens", confidence: float) -> tuple[float, Interval]:
    """The share of positions at which both prefer the same token, and its interval."""
    number = _numbered(found.prompt)
    same = np.bincount(number, weights=found.agreed).astype(np.int64)
    each = np.bincount(number).astype(np.int64)
    return float(found.agreed.mean()), clustered_rate(same, each, confidence)


def _by_position(found: "NextTokens") -> dict[str, Estimate]:
    """The mean divergence of positions that lie between two powers of two."""
    doubled = np.log2(np.maximum(found.position, 1)).astype(np.int64)
    shown = {}
    for power in np.unique(doubled).tolist():
        here = doubled == power
        first, last = 2**power, 2 ** (power + 1) - 1
        name = f"{first}-{last}" if last > first else f"{first}"
        mean = clustered(found.nats[here], found.prompt[here], CONFIDENCE)
        shown[name] = _estimate(mean)
    return shown


def clustered(nats: np.ndarray, prompt: np.ndarray, confidence: float) -> tuple[float, Interval]:
    """The mean over positions and its interval, clustered by prompt."""
    number = _numbered(prompt)
    sums = np.bincount(number, weights=nats)
    each = np.bincount(number).astype(np.int64)
    return math.fsum(nats) / len(nats), clustered_mean(sums, each, confidence)


def _numbered(prompt: np.ndarray) -> np.ndarray:
    """The prompt of each position, counted from 0 without gaps."""
    return np.asarray(np.unique(prompt, return_inverse=True)[1])


def _estimate(measured: tuple[float, Interval]) -> Estimate:
    return Estimate.of(*measured)


def chosen_prompts(
    against: "Against", prompts: int, tokens: int, *, second_half: bool
) -> Sequence[int]:
    """The prompts of smallest hash that have a position to compare, in the set's order.

    Raises:
        OptionError: there is none.
    """
    from pytest_injectivity.reference.next_token import judged_positions

    every = against.child.target.prompts
    long_enough = [
        row
        for row, ids in enumerate(every.ids)
        if judged_positions(min(len(ids), tokens), second_half=second_half)
    ]
    if not long_enough:
        least = 3 if second_half else 2
        raise OptionError(
            f"next tokens are compared from position 1 on, and none of {len(every)} prompts has"
            f" {least} tokens (tokens={tokens}): give longer prompts"
        )
    return sorted(sorted(long_enough, key=every.hashes.__getitem__)[:prompts])
