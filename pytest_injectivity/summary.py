"""Plain data about a run: what reports show and what travels from a worker to its controller.

Only numbers, names and keyed hashes: no prompt, no token id, nothing that needs torch to read.
"""

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
