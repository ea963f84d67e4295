"""Results of inverting prompts, without their tokens: counts and positions for a verdict.

The store keeps these and not the inversion itself, whose tokens are the prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_injectivity.inversion.recovery import Inversion, Recovery


@dataclass(frozen=True)
class Returned:
    """How far one prompt was recovered.

    Attributes:
        exact: every token is right and every position verified.
        right: how many tokens are right.
        position: the first position that failed; None where the prompt was recovered.
        why: the reason it failed.
        residual: distance of the nearest candidate there; None where none was tested.
        twin: whether another token has the embedding row of the token found there.
    """

    exact: bool
    right: int
    position: int | None = None
    why: str = ""
    residual: float | None = None
    twin: bool = False

    @classmethod
    def of(cls, recovery: "Recovery", truth: Sequence[int]) -> "Returned":
        """Compare a recovery with the true prompt."""
        right = sum(token == true for token, true in zip(recovery.ids, truth, strict=True))
        if recovery.exact(truth):
            return cls(exact=True, right=right)
        if not recovery.failures:
            wrong = recovery.first_error(truth)
            return cls(exact=False, right=right, position=wrong, why="verified a wrong token")
        failed = recovery.failures[0]
        return cls(
            exact=False,
            right=right,
            position=failed.position,
            why=str(failed.status),
            residual=failed.residual,
            twin=bool(failed.twins),
        )


@dataclass(frozen=True)
class Recovered:
    """The results of inverting the prompts of one layer.

    Attributes:
        prompts: the result of each prompt, in the order inverted.
        candidates_per_token: how many candidates were tested, on average.
        forwards_per_token: tokens run through the model for each searched, certificates apart.
        first_guesses: how many of the searched tokens were the first candidate tested.
        searched: how many tokens were searched, not looked up in the first position's table.
        largest_rank: the worst place of a token in the policy's order; None where none was searched.
        seconds: how long the inversion took when it was computed.
        certified: how many positions, drawn at random, were compared with the whole vocabulary.
        ambiguous: how many of these have a rival that their answer cannot be told from.
        told_apart: how many rivals of answers, at any position, were told from them by evaluation.
        by_evaluation: how many answers, at any position, verify only by evaluation in eight ways.
        smallest_margin: the smallest local margin at these; None where there are none.
    """

    prompts: tuple[Returned, ...]
    candidates_per_token: float
    forwards_per_token: float
    first_guesses: int
    searched: int
    largest_rank: int | None
    seconds: float
    certified: int
    ambiguous: int
    told_apart: int
    by_evaluation: int
    smallest_margin: float | None

    @classmethod
    def of(cls, inversion: "Inversion", truths: Sequence[Sequence[int]]) -> "Recovered":
        """Compare an inversion with the true prompts."""
        margins = [one.margin for one in inversion.sampled if one.margin is not None]
        pairs = zip(inversion.recoveries, truths, strict=True)
        ranks = inversion.ranks
        return cls(
            prompts=tuple(Returned.of(recovery, truth) for recovery, truth in pairs),
            candidates_per_token=inversion.candidates_per_token,
            forwards_per_token=inversion.forwards_per_token,
            first_guesses=ranks.count(0),
            searched=len(ranks),
            largest_rank=max(ranks, default=None),
            seconds=inversion.seconds,
            certified=len(inversion.sampled),
            ambiguous=inversion.ambiguous,
            told_apart=inversion.told_apart,
            by_evaluation=inversion.by_evaluation,
            smallest_margin=min(margins, default=None),
        )
