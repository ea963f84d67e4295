"""The search at one position: candidates are tested in a policy's order until a verifier accepts one.

This is the published algorithm ([N] alg. 1), with candidates in growing batches (SPEC section 4).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

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
from pytest_injectivity.inversion.recovery import MOST_RIVALS, Outcome, Status
from pytest_injectivity.inversion.token_classes import TokenClasses
from pytest_injectivity.inversion.verifiers import Verifier
from pytest_injectivity.states.scaled import Scale

# Distances from a table held at once.
_TABLE_ELEMENTS = 2**23


@dataclass
class Tested:
    """Candidates tested so far at one position, in the order they were tested.

    Attributes:
        target: the state to invert, finite.
        scale: by which the verifier's distances are scaled; None: they are Euclidean.
        tokens, states, distances: what was tested, piece by piece.
    """

    target: Float[Tensor, " hidden"]
    scale: Scale | None = None
    tokens: list[Int[Tensor, " some"]] = field(default_factory=list)
    states: list[Float[Tensor, "some hidden"]] = field(default_factory=list)
    distances: list[Float64[Tensor, " some"]] = field(default_factory=list)

    def add(
        self,
        tokens: Int[Tensor, " some"],
        states: Float[Tensor, "some hidden"],
        away: Float64[Tensor, " some"] | None = None,
    ) -> None:
        """Tests these candidates; ``away`` gives the verifier's distances where they are known."""
        self.tokens.append(tokens)
        self.states.append(states)
        self.distances.append(distances(states, self.target, self.scale) if away is None else away)

    def __len__(self) -> int:
        """How many candidates."""
        return sum(map(len, self.tokens))

    def outcome(self, position: int, verifier: Verifier, candidates: int, tried: int) -> Outcome:
        """The verifier's judgement of the nearest candidate.

        Args:
            position: of the state in its prompt.
            verifier: judges.
            candidates: how many there are, which tells whether all were tested.
            tried: how many of the candidates the search needed.
        """
        tokens, away = _joined(self.tokens), _joined(self.distances)
        answer = nearest_of(tokens, away)
        margin = scaled = None
        if len(tokens) == candidates and away[answer].isfinite():
            states = _joined(self.states)
            margin = scaled = local_margin(states, answer)
            if self.scale is not None:
                scaled = local_margin(states, answer, self.scale)
        residual = float(away[answer])
        if self.scale is not None:
            residual = float(distances(self._state(answer)[None], self.target)[0])
        nearest = Nearest(answer, residual, margin, scaled)
        return conclude(position, verifier, tokens, away, nearest, tried)

    def _state(self, index: int) -> Float[Tensor, " hidden"]:
        """The state of one candidate, in the order they were tested."""
        for states in self.states:
            if index < len(states):
                return states[index]
            index -= len(states)
        raise IndexError(index)


def nearest_of(tokens: Int[Tensor, " candidates"], away: Float64[Tensor, " candidates"]) -> int:
    """Index of the nearest candidate; among equals that of the smallest id, whatever the policy."""
    nearest = (away == away.min()).nonzero()[:, 0]
    return int(nearest[tokens[nearest].argmin()])


class Nearest(NamedTuple):
    """The nearest candidate tested.

    Attributes:
        answer: its index.
        residual: its Euclidean distance from the state.
        margin: ``delta``, Euclidean, where the whole vocabulary was tested; else None.
        judged: ``delta`` as the verifier measures it.
    """

    answer: int
    residual: float
    margin: float | None
    judged: float | None


def conclude(  # noqa: PLR0917 - one position's findings
    position: int,
    verifier: Verifier,
    tokens: Int[Tensor, " candidates"],
    away: Float64[Tensor, " candidates"],
    nearest: Nearest,
    tried: int,
) -> Outcome:
    """The verifier's judgement of the nearest of these candidates, as an outcome."""
    answer = nearest.answer
    if not away[answer].isfinite():
        return Outcome(position, Status.NOT_FINITE, tried=tried)
    judged = verifier.judge(away, answer, nearest.judged)
    rivals = judged.rivals.nonzero()[:, 0]
    near = int((away[rivals] <= judged.eps).sum())
    rivals = rivals[away[rivals].argsort(stable=True)][:MOST_RIVALS]
    return Outcome(
        position,
        judged.status,
        token=int(tokens[answer]),
        residual=nearest.residual,
        eps=judged.eps,
        away=float(away[answer]),
        margin=nearest.margin,
        rivals=tuple(tokens[rivals].tolist()),
        tried=tried,
        rank=answer if answer < tried else None,
        near=near,
    )


def search(
    at: Situation,
    position: int,
    policy: Policy,
    verifier: Verifier,
    classes: TokenClasses,
    *,
    batch: int,
) -> Outcome:
    """Inverts one state by testing candidates after its prefix, each at most once.

    Args:
        at: the state and the one-step map of its position.
        position: of the state in its prompt.
        policy: orders the candidates.
        verifier: says when to stop, and judges.
        classes: the candidates; what else a policy names is passed over.
        batch: candidates tested at first; twice as many each time after.
    """
    if not at.target.isfinite().all():
        return Outcome(position, Status.NOT_FINITE)
    untested = classes.searched.clone()
    tested = Tested(at.target, verifier.scale)
    for tokens in _batches(policy.order(at), untested, batch):
        tested.add(tokens, at.step(tokens))
        if verifier.settles(tested.distances[-1]):
            break
    return tested.outcome(position, verifier, len(classes), len(tested))


def look_up(
    table: Float[Tensor, "candidates hidden"],
    tokens: Int[Tensor, " candidates"],
    targets: Float[Tensor, "targets hidden"],
    position: int,
    verifiers: Sequence[Verifier],
) -> list[Outcome]:
    """Inverts states of one position by a table of its one-step map; what it finds is certified.

    Args:
        table: the state of each candidate.
        tokens: the candidates.
        targets: the states to invert.
        position: of the states in their prompts.
        verifiers: of each state, of one scale.
    """
    outcomes: list[Outcome] = []
    scale = verifiers[0].scale
    for some in torch.split(targets, max(1, _TABLE_ELEMENTS // max(1, len(table)))):
        away = distances_from_each(table, some, scale)
        answers = torch.tensor([nearest_of(tokens, row) for row in away])
        nearest = _nearest(table, some, answers, away, scale)
        judges = verifiers[len(outcomes) : len(outcomes) + len(some)]
        finite = some.isfinite().all(dim=1).tolist()
        outcomes += [
            conclude(position, verifier, tokens, row, one, 0)
            if known
            else Outcome(position, Status.NOT_FINITE)
            for row, one, known, verifier in zip(away, nearest, finite, judges, strict=True)
        ]
    return outcomes


def _nearest(
    table: Float[Tensor, "candidates hidden"],
    targets: Float[Tensor, "targets hidden"],
    answers: Int[Tensor, " targets"],
    away: Float64[Tensor, "targets candidates"],
    scale: Scale | None,
) -> list[Nearest]:
    """The nearest candidate of each target in a table."""
    margins = local_margins(table, answers)
    if scale is None:
        residuals, judged = away.gather(1, answers[:, None])[:, 0], margins
    else:
        judged = local_margins(table, answers, scale)
        states = table[answers.to(table.device)]
        pairs = zip(states, targets, strict=True)
        residuals = torch.stack([distances(one[None], target)[0] for one, target in pairs])
    found = (part.tolist() for part in (answers, residuals, margins, judged))
    return [Nearest(*one) for one in zip(*found, strict=True)]


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
