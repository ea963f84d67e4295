"""What one attacker read of one release: which tokens, at what rates, not what they say."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64

from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.grammar import Place
from pytest_injectivity.privacy.probe import Robustness
from pytest_injectivity.stats import clopper_pearson, clustered_rate
from pytest_injectivity.verdict import Interval


@dataclass(frozen=True, eq=False)
class Attacked:
    """One attacker against one release at one place.

    Attributes:
        release: its name.
        place: what was observed.
        attacker: its name.
        source: where it was published.
        teacher_forced: each token was attacked behind the true ones before it; else behind the
            attacker's own answers.
        right: of each prompt and position, whether the attacker's token is the prompt's.
        judged: where it was asked for one: not at tokens that are given, past a prompt's end, or in
            prompts it was not run on.
        verified: where it vouched for its answer.
        seconds: its own; the one-step maps and images that all attackers share are not in it.
        robustness: how much further noise the released rows stand; None where they are not compared
            with candidates position by position.
        ids: the tokens it named, a prompt each, -1 for none; empty unless asked for, because they
            are the prompts.
    """

    release: str
    place: Place
    attacker: str
    source: str
    teacher_forced: bool
    right: Bool[np.ndarray, "prompts tokens"]
    judged: Bool[np.ndarray, "prompts tokens"]
    verified: Bool[np.ndarray, "prompts tokens"]
    seconds: float
    robustness: Robustness | None = None
    ids: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    @property
    def token_rate(self) -> float:
        """The share of tokens recovered."""
        return float((self.right & self.judged).sum() / self.judged.sum())

    @property
    def prompt_rate(self) -> float:
        """The share of prompts recovered whole, of those it was run on."""
        return float(self._whole.mean())

    @property
    def verified_rate(self) -> float:
        """The share of tokens that the attacker vouches for."""
        return float((self.verified & self.judged).sum() / self.judged.sum())

    def token_interval(self, confidence: float = 0.95) -> Interval:
        """Of the token rate, clustered by prompt."""
        return self._clustered(self.judged, confidence)

    def prompt_interval(self, confidence: float = 0.95) -> Interval:
        """Of the prompt rate: Clopper-Pearson."""
        return clopper_pearson(int(self._whole.sum()), len(self._whole), confidence)

    def by_position(self) -> Float64[np.ndarray, " tokens"]:
        """The share of tokens recovered at each position; NaN where none was asked for."""
        asked = self.judged.sum(axis=0)
        right = (self.right & self.judged).sum(axis=0)
        return np.where(asked > 0, right / np.maximum(asked, 1), np.nan)

    def by_class(
        self, classes: Sequence[Sequence[str]], confidence: float = 0.95
    ) -> dict[str, tuple[float, Interval]]:
        """The share recovered of each class of tokens, with its interval.

        Args:
            classes: of each prompt the class of each token.
            confidence: of the intervals.

        Raises:
            OptionError: they are not one for each token.
        """
        held = np.full(self.judged.shape, "", dtype=object)
        for at, (one, judged) in enumerate(zip(classes, self.judged, strict=True)):
            if len(one) > len(judged) or judged[len(one) :].any():
                raise OptionError(
                    f"classes of prompt {at}: {len(one)} are given, where its last judged token is"
                    f" at position {int(judged.nonzero()[0].max())}: give one a token"
                )
            held[at, : len(one)] = list(one)
        found = {}
        for name in sorted(set(held[self.judged].tolist())):
            asked = self.judged & (held == name)
            rate = float((self.right & asked).sum() / asked.sum())
            found[name] = (rate, self._clustered(asked, confidence))
        return found

    @property
    def _whole(self) -> Bool[np.ndarray, " run"]:
        run = self.judged.any(axis=1)
        return np.asarray((self.right | ~self.judged).all(axis=1)[run])

    def _clustered(self, asked: Bool[np.ndarray, "prompts tokens"], confidence: float) -> Interval:
        run = asked.any(axis=1)
        right = (self.right & asked).sum(axis=1)[run]
        return clustered_rate(
            right.astype(np.int64), asked.sum(axis=1)[run].astype(np.int64), confidence
        )
