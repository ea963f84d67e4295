"""Where in an attacker's order of all tokens the true ones stand.

An attacker that is wrong may have the true token second. Whoever can check guesses, by their meaning or
against another source, names tokens in this order: how many guesses does a token take (Massey, "Guessing
and Entropy", 1994), and how often is it among the first few?
"""

from dataclasses import dataclass

import numpy as np

from pytest_injectivity.core.shapes import Bool, Float64, Int64
from pytest_injectivity.results.releases import RankSummary, Rate
from pytest_injectivity.stats import clustered_rate, clustered_signed_mean

FIRST = (10, 100)
"""Among how many of an attacker's first guesses the true token is looked for."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """The places of the true tokens in an attacker's order.

    Attributes:
        places: of each prompt and position; the first is 1. A token that was not compared comes after
            all that were.
        token_bits: of each prompt, the sum of its tokens' surprise (`information`).
        place_bits: of each prompt, the sum of its places' code lengths.
    """

    places: Int64[np.ndarray, "prompts tokens"]
    token_bits: Float64[np.ndarray, " prompts"]
    place_bits: Float64[np.ndarray, " prompts"]

    def summary(
        self,
        asked: Bool[np.ndarray, "prompts tokens"],
        left_out: Bool[np.ndarray, "prompts tokens"],
        confidence: float,
    ) -> RankSummary:
        """Rates, guesses and bits, with intervals clustered by prompt.

        Args:
            asked: which tokens are counted.
            left_out: where the true token was not compared.
            confidence: of the intervals.
        """
        of = asked.sum(axis=1).astype(np.int64)
        bits = clustered_signed_mean(self.token_bits - self.place_bits, of, confidence)
        places = self.places[asked]
        return RankSummary(
            first={
                str(most): self._among(most, asked & ~left_out, of, confidence) for most in FIRST
            },
            guesses=float(places.mean()),
            median=float(np.median(places)),
            at_least=bool((left_out & asked).any()),
            bits=float((self.token_bits - self.place_bits).sum() / of.sum()),
            bits_low=_finite(bits.low),
            bits_high=_finite(bits.high),
            entropy=float(self.token_bits.sum() / of.sum()),
        )

    def _among(
        self,
        most: int,
        compared: Bool[np.ndarray, "prompts tokens"],
        of: Int64[np.ndarray, " prompts"],
        confidence: float,
    ) -> Rate:
        found = (compared & (self.places <= most)).sum(axis=1).astype(np.int64)
        rate = clustered_rate(found[of > 0], of[of > 0], confidence)
        return Rate(int(found.sum()), int(of.sum()), rate.low, rate.high)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
