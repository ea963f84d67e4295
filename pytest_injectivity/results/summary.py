"""Summaries of a run, its layers and their comparisons, which reports show and workers send.

They hold numbers, names and keyed hashes only: no prompt and no token id. Reading them needs no torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.text import number_of
from pytest_injectivity.quantization.grid import Rounded
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.results.certificates import Certificate
from pytest_injectivity.results.measured import Measured


class LayerKey(NamedTuple):
    """Names a layer's summary: the layer, and the bits its states were rounded to or None."""

    layer: str
    bits: int | str | None


@dataclass(frozen=True)
class Estimate:
    """A number with its interval at 95 %; None where it is not a finite number."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, interval: Interval) -> "Estimate":
        """Build it from a value and its interval."""
        return cls(*(finite(one) for one in (value, interval.low, interval.high)))


@dataclass(frozen=True)
class NextToken:
    """How near a model's next-token distributions are to its parent's (SPEC section 7).

    Attributes:
        prompts, positions: how many of each were compared.
        second_half: only the second half of each prompt, as llama.cpp's perplexity tool does.
        lost, reference_lost: positions at which the model, or its parent, has no distribution; where
            there are any, no divergence is known.
        kl: the mean ``KL(parent || model)`` of a position, in nats, clustered by prompt.
        kl_q99, kl_q999: its 99 % and 99.9 % quantile.
        kl_max: the largest.
        top1: the share of positions at which both prefer the same token, clustered by prompt.
        elsewhere: the model's largest probability of ids that the parent does not have.
        kl_by_position: the mean of positions by how many tokens were read before: ``1``, ``2-3``,
            ``4-7`` and so on.
        kl_by_layer: the mean where the parent goes on from the model's states of a layer, by its id.
    """

    prompts: int
    positions: int
    second_half: bool
    lost: int
    reference_lost: int
    kl: Estimate
    kl_q99: Estimate
    kl_q999: Estimate
    kl_max: float | None
    top1: Estimate
    elsewhere: float
    kl_by_position: dict[str, Estimate] = field(default_factory=dict)
    kl_by_layer: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSummary:
    """What was audited.

    Attributes:
        model: the source the user named.
        revision: the commit a hub id was resolved to, else None.
        family, n_layers, hidden, vocab, dtype, device: facts on the model.
        assumptions: the line on SPEC section 3's assumptions.
        prompts: the prompt set's name.
        n: distinct prompts.
        prompt_hash: hash of the set; numbers of sets with other hashes are not comparable.
        shortest, longest: tokens of a prompt.
        special_tokens: whether BOS and the like were added.
        dropped: how many prompts were dropped, by reason.
        not_restored: how many of the texts looked at the tokenizer gave back as another text.
        prompt_notes: sentences on how the prompts were read, and on what the tokenizer lost of them.
        prompt_metric: ``d_S``.
        seed: the seed of everything random.
        versions: the versions of the packages that computed the numbers.
        numbers: where the numbers come from: ``computed``, ``from the store``, or both.
        quantized: how the weights of what was loaded are rounded; None for full precision.
        activations: how activations are rounded as the model runs; None where they are not.
        reference: the parent that the model was compared with, its dtype and device; None where
            there was none.
        next_token: how near its next-token distributions are to the parent's; None where not measured.
        size: bytes of the model's weights files; None where not known.
        reference_size: likewise of the parent's.
    """

    model: str
    revision: str | None
    family: str
    n_layers: int
    hidden: int
    vocab: int
    dtype: str
    device: str
    assumptions: str
    prompts: str
    n: int
    prompt_hash: str
    shortest: int
    longest: int
    special_tokens: bool
    dropped: dict[str, int]
    prompt_metric: str
    seed: int
    versions: dict[str, str]
    numbers: str = "computed"
    quantized: QuantizationInfo | None = None
    activations: Rounded | None = None
    reference: str | None = None
    next_token: NextToken | None = None
    not_restored: int = 0
    prompt_notes: tuple[str, ...] = ()
    size: int | None = None
    reference_size: int | None = None

    @property
    def subject(self) -> str:
        """A line with model, precision, prompts, N and the set's hash."""
        kind = "" if self.quantized is None else f"{self.quantized.kind}, "
        rounded = "" if self.activations is None else f", {self.activations.short}"
        return (
            f"{self.model} ({kind}{self.dtype}, {self.device}{rounded}),"
            f" {number_of(self.n, 'prompt')} of"
            f" {self.prompts} [{self.prompt_hash[:12]}]"
        )


@dataclass(frozen=True)
class Fall:
    """The fall of one number of a layer as prompts are added.

    Attributes:
        values: at N/4, N/2 and N prompts.
        per_doubling: the factor for each doubling of the number of prompts, the geometric mean from
            N/4 to N; None where the number is zero, or no number, at N/4.
    """

    values: tuple[float, ...]
    per_doubling: float | None

    @classmethod
    def of(cls, sizes: Sequence[int], values: Sequence[float]) -> "Fall":
        """Compute the fall from the first value to the last."""
        doublings = math.log2(sizes[-1] / sizes[0])
        share = values[-1] / values[0] if values[0] else math.nan
        per_doubling = share ** (1.0 / doublings) if math.isfinite(share) else None
        return cls(tuple(values), per_doubling)


@dataclass(frozen=True)
class Trend:
    """The trend of a layer's numbers from N/4 to N/2 to N prompts (SPEC section 2, "Intervals").

    The smaller sets are the prompts of smallest hash, so that the order of prompts does not matter;
    nearest neighbors are those within the set.

    Attributes:
        n: finite rows of each set; empty where there is no trend.
        margin, margin_q: separation margin, minimum and 1 % quantile.
        colipschitz, colipschitz_q: co-Lipschitz constant, minimum and 1 % quantile; None where fewer
            than two prompts of a set have an admissible partner.
        reason: why a number is None; empty where none is.
    """

    n: tuple[int, ...]
    margin: Fall | None = None
    margin_q: Fall | None = None
    colipschitz: Fall | None = None
    colipschitz_q: Fall | None = None
    reason: str = ""


@dataclass(frozen=True)
class LayerSummary(Measured):
    """The numbers of one layer (SPEC section 2): each metric is an attribute by its name.

    Attributes:
        layer: its id.
        bits: the bits of post-hoc activation quantization, or the text of its `Grid` where the number
            is not enough; None for the states as the model computed them.
        n: finite rows.
        trend: how margin and co-Lipschitz constant fell as N grew; None for rounded states.
        scale: where the scale of rounded states comes from; None for states that are not rounded.
        certificate: what is proved, estimated and unknown of the states; None for rounded ones.
    """

    layer: str
    bits: int | str | None
    n: int
    trend: Trend | None = None
    scale: str | None = None
    certificate: Certificate | None = None

    @property
    def key(self) -> LayerKey:
        """The key of this summary; a run has one summary for each."""
        return LayerKey(self.layer, self.bits)


@dataclass(frozen=True)
class CrossReading:
    """How much somebody who has a model's parent reads from the model's states (SPEC section 4).

    Attributes:
        prompts: how many prompts were attacked.
        tokens: the length of each prompt.
        drift: the median drift of the states attacked, as a share of the parent's norm.
        argmin_prompts, argmin_tokens: rates of the attack that takes the nearest candidate: prompts
            with all tokens right, and tokens right.
        ball_prompts, ball_tokens: rates of the attack that accepts candidates within the measured
            drift: prompts with all tokens right and verified, and tokens right and verified.
    """

    prompts: int
    tokens: int
    drift: float | None
    argmin_prompts: Estimate
    argmin_tokens: Estimate
    ball_prompts: Estimate
    ball_tokens: Estimate


@dataclass(frozen=True)
class Comparison:
    """The comparison of one layer with the parent's, on the same prompts (SPEC section 2).

    Attributes:
        layer: its id.
        n: how many prompts.
        not_finite, reference_not_finite: rows with a NaN or an infinity, of the model and of its
            parent; where there are any, nothing below was compared.
        margin, normalized_margin: the share kept of the 1 % separation margin, as it is and in units
            of each model's mean norm; above 1 where it grew.
        colipschitz, normalized_colipschitz: likewise, of the 1 % co-Lipschitz constant; None too where
            fewer than two prompts have an admissible partner.
        new_collisions: how many pairs are equal, or cannot be told apart, in the model and not in its
            parent; at layer 0 pairs of tokens.
        drift_median, drift_q99, drift_max: ``||h - h'|| / ||h'||`` over the prompts, h' the parent's.
        cosine_mean, cosine_min: the cosine of the angle between h and h'.
        resolution, reference_resolution: how far two evaluations of one state may lie apart.
        sipit, reference_sipit: rates of prompts that SipIt recovers; None where not measured.
        cross: how much the parent reads from the model's states; None where not measured.
        weight_error: the largest ``||W' - W|| / ||W||`` of a tensor, W the parent's; None where not
            measured.
        block_error: what the block makes of the parent's states, against what the parent's block makes
            of them, relative to what that adds; None where not measured.
        basis: ``rotated`` where the states are the parent's in another basis, and drift and cosine are
            those after the rotation; ``unknown`` where neither they nor a rotation of them lie near the
            parent's; None where they do as they are.
    """

    layer: str
    n: int
    not_finite: int
    reference_not_finite: int
    margin: Estimate | None = None
    normalized_margin: Estimate | None = None
    colipschitz: Estimate | None = None
    normalized_colipschitz: Estimate | None = None
    new_collisions: int | None = None
    drift_median: float | None = None
    drift_q99: float | None = None
    drift_max: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    resolution: float | None = None
    reference_resolution: float | None = None
    sipit: Estimate | None = None
    reference_sipit: Estimate | None = None
    cross: CrossReading | None = None
    weight_error: float | None = None
    block_error: float | None = None
    basis: str | None = None


def finite(value: float) -> float | None:
    """The value, or None for a NaN or an infinity, which JSON cannot hold."""
    return value if math.isfinite(value) else None
