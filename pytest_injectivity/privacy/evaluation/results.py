"""What attackers read of a release and what use it leaves: arrays and counts, as a store keeps them.

A result says which tokens of the prompts were read and not what they are, so that a store of results
holds no token id. `summary` turns a result into rates with confidence intervals, which reports show.
"""

from dataclasses import dataclass, field

import numpy as np

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.shapes import Bool, Int8, Int64
from pytest_injectivity.privacy.evaluation.ranks import Ranks
from pytest_injectivity.privacy.evaluation.robustness import Robustness
from pytest_injectivity.privacy.evaluation.spans import SpanRate
from pytest_injectivity.privacy.evaluation.texts import TextScores
from pytest_injectivity.privacy.evaluation.token_kinds import TokenKind
from pytest_injectivity.privacy.evaluation.utility import Utility
from pytest_injectivity.results.attack_metrics import TextMatch
from pytest_injectivity.results.releases import AttackSummary, Excess, Rate, ReleaseSummary
from pytest_injectivity.stats import (
    Trials,
    clopper_pearson,
    clustered_difference,
    clustered_rate,
)


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What one attacker read of one release.

    Attributes:
        attacker: name of the attacker.
        source: where the attack was published.
        teacher_forced: whether the attacker was given the true tokens before each position; else its
            own answers stood there (free-running).
        right: of each prompt and position, whether the attacker's token is the prompt's.
        judged: where the attacker was asked for a token: not at tokens that are known, not past the
            end of a prompt, and not in prompts it was not run on.
        verified: where the attacker vouches for its answer.
        left_out: where the true token was not among the candidates compared; None: nowhere.
        undecided: where the answer is wrong, and a search of the whole vocabulary might have found the
            true token; None: nowhere.
        compared: how many candidates were compared at a position, on average; None: the whole
            vocabulary, or none.
        seconds: time of this attacker alone, without the one-step maps that all attackers share.
        spans: the named spans of each kind (numbers, names, addresses), and how many were read exactly.
        texts: how near the text of the answers is; None where there is no tokenizer.
        ranks: where the true tokens stand in the attacker's order; None: it orders none, or its own
            answers stand before them.
        ids: the answers, one tuple a prompt, -1 for no answer. They are the prompts, so they are kept
            only where they are asked for.
    """

    attacker: str
    source: str
    teacher_forced: bool
    right: Bool[np.ndarray, "prompts tokens"]
    judged: Bool[np.ndarray, "prompts tokens"]
    verified: Bool[np.ndarray, "prompts tokens"]
    left_out: Bool[np.ndarray, "prompts tokens"] | None = None
    undecided: Bool[np.ndarray, "prompts tokens"] | None = None
    compared: float | None = None
    seconds: float = 0.0
    spans: tuple[SpanRate, ...] = ()
    texts: TextScores | None = None
    ranks: Ranks | None = None
    ids: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    @property
    def token_rate(self) -> float:
        """The share of tokens recovered, of those the attacker was asked for."""
        return float((self.right & self.judged).sum() / self.judged.sum())

    @property
    def prompt_rate(self) -> float:
        """The share of prompts recovered whole, of those the attacker was run on."""
        run = self.judged.any(axis=1)
        return float((self.right | ~self.judged).all(axis=1)[run].mean())

    @property
    def verified_rate(self) -> float:
        """The share of tokens that the attacker vouches for."""
        return float((self.verified & self.judged).sum() / self.judged.sum())

    def summary(
        self,
        kinds: Int8[np.ndarray, "prompts tokens"],
        confidence: float,
        guessed: Trials | None = None,
    ) -> AttackSummary:
        """The rates of the attack, with confidence intervals.

        Args:
            kinds: the `TokenKind` of each token.
            confidence: level of the intervals.
            guessed: of each prompt, the tokens that the model guesses without any state; None: not
                measured.
        """
        right, asked = self.right & self.judged, self.judged
        left_out = np.zeros_like(asked) if self.left_out is None else self.left_out & asked
        may = right if self.undecided is None else right | self.undecided & asked
        run = asked.any(axis=1)
        whole, whole_at_most = (int((one == asked).all(axis=1)[run].sum()) for one in (right, may))
        of_kind = {kind: asked & (kinds == kind) for kind in TokenKind}
        positions = np.flatnonzero(asked.any(axis=0))
        return AttackSummary(
            attacker=self.attacker,
            source=self.source,
            teacher_forced=self.teacher_forced,
            prompts=int(run.sum()),
            tokens=_rate_by_prompt(right, may, asked, confidence),
            whole=_independent_rate(whole, whole_at_most, int(run.sum()), confidence),
            excess=_excess(right, may, asked, guessed, confidence),
            by_position={
                # Each prompt has one token at a position, so the trials are independent.
                str(at): _independent_rate(
                    int(right[:, at].sum()),
                    int(may[:, at].sum()),
                    int(asked[:, at].sum()),
                    confidence,
                )
                for at in positions.tolist()
            },
            by_kind={
                kind.words: _rate_by_prompt(right & among, may & among, among, confidence)
                for kind, among in of_kind.items()
                if among.any()
            },
            by_span={span.kind: (span.read, span.found) for span in self.spans},
            verified=self.verified_rate,
            seconds=self.seconds,
            compared=self.compared,
            left_out=int(left_out.sum()),
            texts=None if self.texts is None else _text_match(self.texts),
            ranks=None if self.ranks is None else self.ranks.summary(asked, left_out, confidence),
        )


@dataclass(frozen=True, eq=False)
class AttackedRelease:
    """All attacks on one release at one place.

    Attributes:
        release: name of the release.
        place: what was observed.
        attacks: one result for each attacker and for each way it was run; empty where no attacker is
            made for such a release, which says nothing about the release.
        robustness: how much further noise the released rows stand; None where the rows cannot be
            compared with candidates position by position.
    """

    release: str
    place: Place
    attacks: tuple[AttackResult, ...]
    robustness: Robustness | None


@dataclass(frozen=True, eq=False)
class ReleaseResult:
    """What was measured of one release at one place: attacks and utility.

    Attributes:
        release, place, typical, noise, no_utility: see `ReleaseSummary`.
        kinds: the `TokenKind` of each token of each prompt.
        attacks: one result for each attacker and for each way it was run.
        utility: how well the receiver predicts the next token; None where no pass can go on from what
            is observed.
        robustness: see `AttackedRelease`.
        seconds: computing time, with an equal share of what releases measured together had in common.
    """

    release: str
    place: str
    typical: float
    noise: float
    kinds: Int8[np.ndarray, "prompts tokens"]
    attacks: tuple[AttackResult, ...]
    utility: Utility | None
    no_utility: str = ""
    robustness: Robustness | None = None
    seconds: float = 0.0

    def summary(self, confidence: float) -> ReleaseSummary:
        """The rates of all attacks and of the utility, with intervals at a confidence level."""
        prompts, tokens = self.kinds.shape
        utility = self.utility
        guessed = Trials(_counts(utility.guessed), _counts(utility.guesses)) if utility else None
        return ReleaseSummary(
            release=self.release,
            place=self.place,
            prompts=prompts,
            tokens=tokens,
            confidence=confidence,
            typical=self.typical,
            noise=self.noise,
            attacks=tuple(one.summary(self.kinds, confidence, guessed) for one in self.attacks),
            agreement=_clustered_rate(_counts(utility.agreed), _counts(utility.judged), confidence)
            if utility
            else None,
            divergence=_finite(utility.mean_divergence) if utility else None,
            no_utility=self.no_utility,
            seconds=self.seconds,
            robustness=None if self.robustness is None else _named_quantiles(self.robustness),
            guessed=_clustered_rate(*guessed, confidence) if guessed else None,
            perplexity_ratio=_finite(utility.perplexity_ratio) if utility else None,
        )


def _named_quantiles(found: Robustness) -> dict[str, float | None]:
    """The minimum, the 5 % quantile and the median of both tolerances, and the share certified."""
    at = {level: index for index, level in enumerate(found.levels.tolist())}
    shown = {"least": 0.0, "5%": 0.05, "median": 0.5}
    named = {
        f"{name} {word}": _finite(float(values[at[level]]))
        for name, values in (("worst case", found.worst_case), ("certified", found.certified))
        for word, level in shown.items()
    }
    return named | {"share certified": _finite(found.share_certified)}


def _text_match(found: TextScores) -> TextMatch:
    rouge_l = float(np.mean(found.rouge_l)) if found.rouge_l else None
    return TextMatch(rouge_l, found.bleu, found.no_bleu)


def _counts(numbers: tuple[int, ...]) -> Int64[np.ndarray, " prompts"]:
    return np.array(numbers, dtype=np.int64)


def _clustered_rate(right: np.ndarray, of: np.ndarray, confidence: float) -> Rate | None:
    """The rate of trials that come in clusters, one a prompt; None without any trial."""
    return _rate(right, right, of, confidence) if of.sum() else None


def _excess(
    right: Bool[np.ndarray, "prompts tokens"],
    may: Bool[np.ndarray, "prompts tokens"],
    asked: Bool[np.ndarray, "prompts tokens"],
    guessed: Trials | None,
    confidence: float,
) -> Excess | None:
    """What was read over what is guessed, on the prompts that were read."""
    run = asked.any(axis=1)
    if guessed is None or not guessed.trials[run].any():
        return None
    of = asked.sum(axis=1)[run]
    chance = Trials(guessed.successes[run], guessed.trials[run])
    read, most = (Trials(one.sum(axis=1)[run], of) for one in (right, may))
    found, highest = (clustered_difference(one, chance, confidence) for one in (read, most))
    high = max(found.high, highest.high)
    return Excess(read.rate - chance.rate, found.low, high, most.rate - read.rate)


def _rate_by_prompt(
    right: Bool[np.ndarray, "prompts tokens"],
    may: Bool[np.ndarray, "prompts tokens"],
    asked: Bool[np.ndarray, "prompts tokens"],
    confidence: float,
) -> Rate:
    run = asked.any(axis=1)
    right_, may_, of = (one.sum(axis=1)[run].astype(np.int64) for one in (right, may, asked))
    return _rate(right_, may_, of, confidence)


def _rate(
    right: Int64[np.ndarray, " prompts"],
    may: Int64[np.ndarray, " prompts"],
    of: Int64[np.ndarray, " prompts"],
    confidence: float,
) -> Rate:
    """The rate of trials in clusters, of which some went right and some more may have."""
    found, most = (clustered_rate(one, of, confidence) for one in (right, may))
    # Counts that vary less between prompts have a shorter interval.
    high = max(found.high, most.high)
    return Rate(int(right.sum()), int(of.sum()), found.low, high, int((may - right).sum()))


def _independent_rate(right: int, may: int, of: int, confidence: float) -> Rate:
    found, most = (clopper_pearson(one, of, confidence) for one in (right, may))
    return Rate(right, of, found.low, most.high, may - right)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
