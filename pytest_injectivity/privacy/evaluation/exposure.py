"""What was read of a release by each attacker, and what use is left: counts, as a store keeps them.

Which tokens were read, not which they are: a store holds no token id of a prompt.
"""

from dataclasses import dataclass, field

import numpy as np

from pytest_injectivity.core.shapes import Bool, Int8
from pytest_injectivity.privacy.evaluation.robustness import Robustness
from pytest_injectivity.privacy.evaluation.token_kinds import Kind
from pytest_injectivity.privacy.evaluation.utility import Utility
from pytest_injectivity.results.releases import AttackSummary, Rate, ReleaseSummary
from pytest_injectivity.stats import clopper_pearson, clustered_rate


@dataclass(frozen=True, eq=False)
class Read:
    """What one attacker read.

    Attributes:
        attacker, source, forced: see `AttackSummary`.
        right: of each prompt and position, whether the attacker's token is the prompt's.
        judged: where it was asked for: not at tokens that are given, not in prompts it was not run on.
        verified: the share of tokens that it vouches for.
        spans: of named spans, by kind, how many were read exactly of how many there are.
        seconds: its own.
    """

    attacker: str
    source: str
    forced: bool
    right: Bool[np.ndarray, "prompts tokens"]
    judged: Bool[np.ndarray, "prompts tokens"]
    verified: float = 0.0
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0

    def summary(
        self, kinds: Int8[np.ndarray, "prompts tokens"], confidence: float
    ) -> AttackSummary:
        """Its rates, with intervals at a confidence.

        Args:
            kinds: of the tokens, by `Kind`.
            confidence: of the intervals.
        """
        right, asked = self.right & self.judged, self.judged
        run = asked.any(axis=1)
        whole = int((right == asked).all(axis=1)[run].sum())
        of_kind = {kind: asked & (kinds == kind) for kind in Kind}
        positions = np.flatnonzero(asked.any(axis=0))
        return AttackSummary(
            attacker=self.attacker,
            source=self.source,
            forced=self.forced,
            prompts=int(run.sum()),
            tokens=_by_prompt(right, asked, confidence),
            whole=_independent(whole, int(run.sum()), confidence),
            by_position={
                # One token a prompt, so the trials are independent.
                str(at): _independent(int(right[:, at].sum()), int(asked[:, at].sum()), confidence)
                for at in positions.tolist()
            },
            by_kind={
                kind.words: _by_prompt(right & among, among, confidence)
                for kind, among in of_kind.items()
                if among.any()
            },
            by_span=dict(self.spans),
            verified=self.verified,
            seconds=self.seconds,
        )


@dataclass(frozen=True, eq=False)
class ReleaseResult:
    """One release at one place.

    Attributes:
        release, place, typical, noise, no_utility: see `ReleaseSummary`.
        kinds: of each prompt's tokens, by `Kind`.
        reads: one an attacker.
        utility: None where nothing goes on from what is observed.
        robustness: how much further noise the released rows stand; None where they are not compared
            with candidates position by position.
        seconds: what it took when it was computed, a share of what its releases had in common too.
    """

    release: str
    place: str
    typical: float
    noise: float
    kinds: Int8[np.ndarray, "prompts tokens"]
    reads: tuple[Read, ...]
    utility: Utility | None
    no_utility: str = ""
    robustness: Robustness | None = None
    seconds: float = 0.0

    def summary(self, confidence: float) -> ReleaseSummary:
        """Its rates, with intervals at a confidence."""
        prompts, tokens = self.kinds.shape
        utility = self.utility
        return ReleaseSummary(
            release=self.release,
            place=self.place,
            prompts=prompts,
            tokens=tokens,
            confidence=confidence,
            typical=self.typical,
            noise=self.noise,
            attacks=tuple(read.summary(self.kinds, confidence) for read in self.reads),
            agreement=None if utility is None else _of(utility.agreed, utility.judged, confidence),
            divergence=None if utility is None else _finite(utility.mean_divergence),
            no_utility=self.no_utility,
            robustness=None if self.robustness is None else _quantiles(self.robustness),
            guessed=None if utility is None else _of(utility.guessed, utility.guesses, confidence),
        )


def _quantiles(found: Robustness) -> dict[str, float | None]:
    """What a person asks of it: the least, the usual, and what nothing can change."""
    at = {level: index for index, level in enumerate(found.levels.tolist())}
    shown = {"least": 0.0, "5%": 0.05, "median": 0.5}
    named = {
        f"{name} {word}": _finite(float(values[at[level]]))
        for name, values in (("worst case", found.worst_case), ("certified", found.certified))
        for word, level in shown.items()
    }
    return named | {"share certified": _finite(found.share_certified)}


def _of(right: tuple[int, ...], of: tuple[int, ...], confidence: float) -> Rate | None:
    if not sum(of):
        return None
    return _clustered(np.array(right, dtype=np.int64), np.array(of, dtype=np.int64), confidence)


def _by_prompt(
    right: Bool[np.ndarray, "prompts tokens"],
    asked: Bool[np.ndarray, "prompts tokens"],
    confidence: float,
) -> Rate:
    run = asked.any(axis=1)
    return _clustered(right.sum(axis=1)[run], asked.sum(axis=1)[run], confidence)


def _clustered(right: np.ndarray, of: np.ndarray, confidence: float) -> Rate:
    interval = clustered_rate(right.astype(np.int64), of.astype(np.int64), confidence)
    return Rate(int(right.sum()), int(of.sum()), interval.low, interval.high)


def _independent(right: int, of: int, confidence: float) -> Rate:
    interval = clopper_pearson(right, of, confidence)
    return Rate(right, of, interval.low, interval.high)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
