"""Plain data about a run: what reports show and what travels from a worker to its controller.

Only numbers, names and keyed hashes: no prompt, no token id, nothing that needs torch to read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


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
        quantised: a `Quantised` of what was loaded, as plain data; None for full precision.
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
    quantised: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @property
    def subject(self) -> str:
        """One line: model, dtype, prompts, N and the set's hash."""
        return (
            f"{self.model} ({self.dtype}, {self.device}), {self.n} prompts of {self.prompts}"
            f" [{self.prompt_hash[:12]}]"
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

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Trend":
        """What `asdict` made of one, by way of JSON."""
        falls = {
            name: Fall(tuple(fall["values"]), fall["per_doubling"])
            for name, fall in plain.items()
            if isinstance(fall, Mapping)
        }
        return cls(n=tuple(plain["n"]), reason=plain["reason"], **falls)


@dataclass(frozen=True)
class LayerSummary:
    """The geometry of one layer in numbers (SPEC section 2); None where it was not measured.

    Attributes:
        layer: its id.
        bits: of post-hoc activation quantisation; None for the states as the model computed them.
        n: finite rows.
        not_finite: rows with a NaN or an infinity.
        collisions: pairs of rows equal in every coordinate.
        mean_norm, median_norm: of the rows.
        margin, margin_q: separation margin, minimum and 1 % quantile.
        colipschitz, colipschitz_q: co-Lipschitz constant, minimum and 1 % quantile.
        noise: the noise floor; rounded states have none.
        near_fractions: fraction of pairs within each tolerance of the ladder.
        trend: how margin and co-Lipschitz constant fell as N grew; rounded states have none.
    """

    layer: str
    bits: int | None
    n: int
    not_finite: int
    collisions: int | None = None
    mean_norm: float | None = None
    median_norm: float | None = None
    margin: float | None = None
    margin_q: float | None = None
    colipschitz: float | None = None
    colipschitz_q: float | None = None
    noise: float | None = None
    near_fractions: dict[str, float] | None = None
    trend: Trend | None = None

    def __post_init__(self) -> None:
        given: object = self.trend
        if isinstance(given, Mapping):  # it came as JSON
            object.__setattr__(self, "trend", Trend.from_dict(given))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @property
    def key(self) -> tuple[str, int | None]:
        """What a run has one summary of."""
        return self.layer, self.bits

    @property
    def normalized_margin_q(self) -> float | None:
        """The 1 % margin in units of the mean norm."""
        return (
            None if self.margin_q is None or not self.mean_norm else self.margin_q / self.mean_norm
        )

    @property
    def normalized_colipschitz_q(self) -> float | None:
        """The 1 % co-Lipschitz constant in units of the mean norm."""
        if self.colipschitz_q is None or not self.mean_norm:
            return None
        return self.colipschitz_q / self.mean_norm
