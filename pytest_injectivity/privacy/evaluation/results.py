"""What one attacker read of one release: which tokens, at what rates, not what they say."""

from dataclasses import dataclass, field

import numpy as np

from pytest_injectivity.config.release_spec import Place
from pytest_injectivity.core.shapes import Bool
from pytest_injectivity.privacy.evaluation.robustness import Robustness


@dataclass(frozen=True, eq=False)
class AttackResult:
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

    @property
    def _whole(self) -> Bool[np.ndarray, " run"]:
        run = self.judged.any(axis=1)
        return np.asarray((self.right | ~self.judged).all(axis=1)[run])
