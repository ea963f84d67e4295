"""What is said of a run, its layers and the parent's: what reports show and what travels from a worker.

Only numbers, names and keyed hashes: no prompt, no token id, nothing that needs torch to read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.quantization.grid import Rounded
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.results.metrics import Measured


class LayerKey(NamedTuple):
    """A layer as it was computed (``bits`` None), or as it was rounded."""

    layer: str
    bits: int | str | None


@dataclass(frozen=True)
class RunSummary:
    """What was audited.

    Attributes:
        model: the source the user named.
        revision: the commit a hub id was resolved to, else None.
        family, n_layers, hidden, vocab, dtype, device: of the model.
        assumptions: the line on SPEC section 3's assumptions.
        prompts: the prompt set's name.
        n: distinct prompts.
        prompt_hash: hash of the set; numbers of sets with other hashes are not comparable.
        shortest, longest: tokens of a prompt.
        special_tokens: whether BOS and the like were added.
        dropped: how many prompts were dropped, by reason.
        prompt_metric: ``d_S``.
        seed: of everything random.
        versions: of the packages that computed the numbers.
        numbers: where they come from: ``computed``, ``from the store``, or both.
        quantized: how the weights of what was loaded are rounded; None for full precision.
        activations: how activations are rounded as it runs; None where they are not.
        reference: the parent that it was held against, its dtype and device; None where it was not.
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

    @property
    def subject(self) -> str:
        """One line: model, precision, prompts, N and the set's hash."""
        kind = "" if self.quantized is None else f"{self.quantized.kind}, "
        rounded = "" if self.activations is None else f", {self.activations.short}"
        return (
            f"{self.model} ({kind}{self.dtype}, {self.device}{rounded}), {self.n} prompts of"
            f" {self.prompts} [{self.prompt_hash[:12]}]"
        )


@dataclass(frozen=True)
class Fall:
    """One number of a layer over growing sets of prompts.

    Attributes:
        values: at N/4, N/2 and N prompts.
        per_doubling: what it is multiplied by where the number of prompts doubles, on (geometric)
            average from N/4 to N; None where it is zero, or no number, at N/4.
    """

    values: tuple[float, ...]
    per_doubling: float | None

    @classmethod
    def of(cls, sizes: Sequence[int], values: Sequence[float]) -> "Fall":
        """The fall from the first value to the last."""
        doublings = math.log2(sizes[-1] / sizes[0])
        share = values[-1] / values[0] if values[0] else math.nan
        per_doubling = share ** (1.0 / doublings) if math.isfinite(share) else None
        return cls(tuple(values), per_doubling)


@dataclass(frozen=True)
class Trend:
    """How the numbers of a layer fell from N/4 to N/2 to N prompts (SPEC section 2, "Intervals").

    The smaller sets are the prompts of smallest hash, so that the order of prompts does not matter;
    nearest neighbours are those within the set.

    Attributes:
        n: finite rows of each set; empty where there is no trend.
        margin, margin_q: separation margin, minimum and 1 % quantile.
        colipschitz, colipschitz_q: co-Lipschitz constant, minimum and 1 % quantile; None where fewer
            than two prompts of a set have an admissible partner.
        reason: why something is None; empty where nothing is.
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
        bits: of post-hoc activation quantization, or the text of its `Grid` where the number does not
            say all; None for the states as the model computed them.
        n: finite rows.
        trend: how margin and co-Lipschitz constant fell as N grew; rounded states have none.
        scale: where the scale of rounded states comes from; None for states that are not rounded.
    """

    layer: str
    bits: int | str | None
    n: int
    trend: Trend | None = None
    scale: str | None = None

    @property
    def key(self) -> LayerKey:
        """What a run has one summary of."""
        return LayerKey(self.layer, self.bits)


@dataclass(frozen=True)
class Estimate:
    """A ratio or a rate with its interval at 95 %; None where it is not a finite number."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, interval: Interval) -> "Estimate":
        """A value and the limits of its interval."""
        return cls(*(finite(one) for one in (value, interval.low, interval.high)))


@dataclass(frozen=True)
class CrossReading:
    """How much of a model's states somebody reads who has its parent (SPEC section 4).

    Attributes:
        prompts: how many were attacked.
        tokens: the length of each.
        drift: the median drift of the states attacked, as a share of the parent's norm.
        argmin_prompts, argmin_tokens: rates read by taking the nearest candidate: all of a prompt's
            tokens right, and tokens right.
        ball_prompts, ball_tokens: rates read within the measured drift: all of a prompt's tokens right
            and every position verified, and tokens right and verified.
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
    """One layer of a model held against its parent's, on the same prompts (SPEC section 2).

    Attributes:
        layer: its id.
        n: prompts.
        not_finite, reference_not_finite: rows with a NaN or an infinity, of the model and of its
            parent; where there are any, nothing below was compared.
        margin, normalized_margin: the share kept of the 1 % separation margin, as it is and in units
            of each model's mean norm; above 1 where it grew.
        colipschitz, normalized_colipschitz: likewise, of the 1 % co-Lipschitz constant; None too where
            fewer than two prompts have an admissible partner.
        new_collisions: pairs equal, or not to be told apart, in the model and not in its parent; of
            layer 0 pairs of tokens.
        drift_median, drift_q99, drift_max: ``||h - h'|| / ||h'||`` over the prompts, h' the parent's.
        cosine_mean, cosine_min: of the angle between h and h'.
        noise, reference_noise: the noise floors.
        sipit, reference_sipit: rates of prompts that SipIt recovers; None where nobody asked.
        cross: what the parent reads of the model's states; None where nobody asked.
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
    noise: float | None = None
    reference_noise: float | None = None
    sipit: Estimate | None = None
    reference_sipit: Estimate | None = None
    cross: CrossReading | None = None


def finite(value: float) -> float | None:
    """The value, or None where it is a NaN or an infinity, which JSON has not."""
    return value if math.isfinite(value) else None
