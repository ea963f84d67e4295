"""The search at one position: candidates are tested in a policy's order until a verifier accepts one.

This is the published algorithm ([N] alg. 1), with candidates in growing batches and, where asked
for, the rest of the vocabulary tested as well, which certifies the answer (SPEC section 4).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int
from pytest_injectivity.inversion.one_step import (
    distances,
    distances_from_each,
    local_margin,
    local_margins,
)
from pytest_injectivity.inversion.policies import Policy, Situation
from pytest_injectivity.inversion.recovery import Outcome, Status
from pytest_injectivity.inversion.verifiers import Verifier

_MOST_RIVALS = 8
# Distances from a table held at once.
_TABLE_ELEMENTS = 2**23


@dataclass
class Tested:
    """Candidates tested so far at one position, in the order they were tested.

    Attributes:
        target: the state to invert, finite.
        tokens, states, distances: what was tested, piece by piece.
    """

    target: Float[Tensor, " hidden"]
    tokens: list[Int[Tensor, " some"]] = field(default_factory=list)
    states: list[Float[Tensor, "some hidden"]] = field(default_factory=list)
    distances: list[Float64[Tensor, " some"]] = field(default_factory=list)

    def add(
        self,
        tokens: Int[Tensor, " some"],
        states: Float[Tensor, "some hidden"],
        away: Float64[Tensor, " some"] | None = None,
    ) -> None:
        """Tests these candidates; ``away`` gives their distances where they are known."""
        self.tokens.append(tokens)
        self.states.append(states)
        self.distances.append(distances(states, self.target) if away is None else away)

    def __len__(self) -> int:
        """How many candidates."""
        return sum(map(len, self.tokens))

    def outcome(self, position: int, verifier: Verifier, vocab_size: int, tried: int) -> Outcome:
        """The verifier's judgement of the nearest candidate.

        Args:
            position: of the state in its prompt.
            verifier: judges.
            vocab_size: tells whether the whole vocabulary was tested.
            tried: how many of the candidates the search needed.
        """
        tokens, away = _joined(self.tokens), _joined(self.distances)
        answer = nearest_of(tokens, away)
        margin = None
        if len(tokens) == vocab_size and away[answer].isfinite():
            margin = local_margin(_joined(self.states), answer)
        return conclude(position, verifier, tokens, away, answer, margin, tried)


def nearest_of(tokens: Int[Tensor, " candidates"], away: Float64[Tensor, " candidates"]) -> int:
    """Index of the nearest candidate; among equals that of the smallest id, whatever the policy."""
    nearest = (away == away.min()).nonzero()[:, 0]
    return int(nearest[tokens[nearest].argmin()])


def conclude(  # noqa: PLR0917 - one position's findings
    position: int,
    verifier: Verifier,
    tokens: Int[Tensor, " candidates"],
    away: Float64[Tensor, " candidates"],
    answer: int,
    margin: float | None,
    tried: int,
) -> Outcome:
    """The verifier's judgement of the nearest of these candidates, as an outcome."""
    if not away[answer].isfinite():
        return Outcome(position, Status.NOT_FINITE, tried=tried)
    judged = verifier.judge(away, answer, margin)
    rivals = judged.rivals.nonzero()[:, 0]
    rivals = rivals[away[rivals].argsort(stable=True)][:_MOST_RIVALS]
    return Outcome(
        position,
        judged.status,
        token=int(tokens[answer]),
        residual=float(away[answer]),
        eps=judged.eps,
        margin=margin,
        rivals=tuple(tokens[rivals].tolist()),
        tried=tried,
        rank=answer if answer < tried else None,
    )


def search(
    at: Situation, position: int, policy: Policy, verifier: Verifier, *, batch: int, certify: bool
) -> Outcome:
    """Inverts one state by testing candidates after its prefix, each at most once.

    Args:
        at: the state and the one-step map of its position.
        position: of the state in its prompt.
        policy: orders the candidates.
        verifier: says when to stop, and judges.
        batch: candidates tested at first; twice as many each time after.
        certify: test the rest of the vocabulary too, once the verifier accepts a candidate.
    """
    if not at.target.isfinite().all():
        return Outcome(position, Status.NOT_FINITE)
    vocab_size = at.step.decoder.vocab_size
    untested = torch.ones(vocab_size, dtype=torch.bool)
    tested = Tested(at.target)
    for tokens in _batches(policy.order(at), untested, batch):
        tested.add(tokens, at.step(tokens))
        if verifier.settles(tested.distances[-1]):
            break
    tried = len(tested)
    rest = untested.nonzero()[:, 0]
    if certify and len(rest):
        tested.add(rest, at.step(rest))
    return tested.outcome(position, verifier, vocab_size, tried)


def look_up(
    table: Float[Tensor, "vocab hidden"],
    targets: Float[Tensor, "targets hidden"],
    position: int,
    verifier: Verifier,
) -> list[Outcome]:
    """Inverts states of one position by a table of its one-step map; what it finds is certified."""
    outcomes: list[Outcome] = []
    tokens = torch.arange(len(table))
    for some in torch.split(targets, max(1, _TABLE_ELEMENTS // max(1, len(table)))):
        away = distances_from_each(table, some)
        answers = torch.tensor([nearest_of(tokens, row) for row in away])
        margins = local_margins(table, answers).tolist()
        finite = some.isfinite().all(dim=1).tolist()
        outcomes += [
            conclude(position, verifier, tokens, row, int(answer), margin, 0)
            if known
            else Outcome(position, Status.NOT_FINITE)
            for row, answer, margin, known in zip(away, answers, margins, finite, strict=True)
        ]
    return outcomes


def _batches(
    order: Iterator[Int[Tensor, " some"]], untested: Tensor, batch: int
) -> Iterator[Int[Tensor, " some"]]:
    """Pieces of a policy's order, then what it left out, in growing batches; marks them tested."""
    leftover = (untested.nonzero()[:, 0] for _ in range(1))
    for piece in chain(order, leftover):
        fresh = piece[untested[piece]]
        while len(fresh):
            tokens, fresh = fresh[:batch], fresh[batch:]
            untested[tokens] = False
            yield tokens
            batch *= 2


def _joined(parts: list[Tensor]) -> Tensor:
    # A table is one part, and shared by all prompts: it is not copied for each of them.
    return parts[0] if len(parts) == 1 else torch.cat(parts)
