"""Cross inversion: the states of a model inverted with its full-precision parent (SPEC section 4).

A checkpoint is quantized and served; its parent is public. An attacker who sees hidden states of
the child runs candidates through the parent. The drift between the two models then acts as an
observation error. There are two attacks: the nearest candidate of the whole vocabulary at each
position, whatever its distance; and the ball, whose tolerance is the drift that the attacker
measured on prompts of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.inversion.recovery import Inversion
from pytest_injectivity.inversion.verifiers import Tolerance
from pytest_injectivity.states.tolerance_by_norm import coarser

Paths = Sequence[Float[Tensor, "_length hidden"]]

Inverting: TypeAlias = Callable[..., Inversion]
"""Inverts states at one layer with one model, and is called like `recover_all`: here, or in workers."""


@dataclass(frozen=True)
class Read:
    """What one attack read.

    Attributes:
        right: of each prompt how many of its tokens; by the ball those that it verified.
        whole: prompts read whole; by the ball those that it verified whole.
    """

    right: Int64[np.ndarray, " prompts"]
    whole: int


@dataclass(frozen=True)
class CrossInversion:
    """States of prompts of one length, attacked with another model.

    Attributes:
        searched: tokens of each prompt that were not known before.
        argmin: read by taking the nearest candidate.
        ball: read within ``eps``.
        eps: tolerance of the ball at positions 0, 1, ….
        drift: median of ``||h - h'|| / ||h'||`` over the states attacked, h' the attacker's own.
        seconds: what it took.
    """

    searched: int
    argmin: Read
    ball: Read
    eps: tuple[float, ...]
    drift: float
    seconds: float


def drift_by_position(
    states: Paths, others: Paths, resolution: tuple[float, float]
) -> tuple[float, ...]:
    """How far the states of a sample drift at each position: the largest distance over the prompts.

    Position 0 stands for itself, as attention sinks do; at later ones a sample of some prompts is
    thin, and the largest distance so far serves. There a sink's counts in proportion to its length.

    Args:
        states: of each prompt of the sample at every position, all of one length.
        others: likewise, of the other model.
        resolution: its own at position 0 and at later ones, added on top.
    """
    apart = torch.stack(
        [
            torch.linalg.vector_norm(one.cpu().double() - other.cpu().double(), dim=1)
            for one, other in zip(states, others, strict=True)
        ]
    )
    largest = (apart / _coarser(others)).amax(dim=0)
    later = largest[1:].cummax(dim=0).values if len(largest) > 1 else largest[1:]
    return (float(largest[0]) + resolution[0], *((later + resolution[1]).tolist()))


def _coarser(states: Paths) -> Float64[Tensor, "prompts length"]:
    """How many times more coarsely than most of their group of positions states are evaluated."""
    norms = torch.stack([torch.linalg.vector_norm(one.cpu().double(), dim=1) for one in states])
    groups = []
    for group in (norms[:, :1], norms[:, 1:]):
        median = float(group.median()) if group.numel() else 1.0
        times = [[coarser(norm, median) for norm in row] for row in group.tolist()]
        groups.append(torch.tensor(times, dtype=torch.float64).view_as(group))
    return torch.cat(groups, dim=1)


def cross_invert(
    invert: Inverting,
    states: Paths,
    truths: Sequence[tuple[int, ...]],
    *,
    vocabulary: int,
    eps: Tolerance,
    nu: Tolerance,
    known: tuple[int, ...] = (),
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[Read, Read]:
    """Reads states with another model, by argmin and by ball.

    Args:
        invert: inverts states of the layer with the model that candidates are run through.
        states: of each prompt at every position, from the model attacked.
        truths: the prompts.
        eps: the ball's tolerance by position (`drift_by_position`) and length.
        vocabulary: tokens of that model.
        nu: the attacker's resolution, likewise.
        known: tokens that every prompt begins with.
        seed: of the inversions.
        progress: called with the number of steps done, two a prompt (`recover_all`), of one attack after
            the other.
    """
    told = progress or (lambda _done: None)
    nearest = invert(
        states,
        eps=eps,
        nu=nu,
        verifier="argmin",
        # The nearest of all is looked for: no order finds it sooner.
        policy="random",
        batch=vocabulary,
        certify=0,
        known=known,
        seed=seed,
        progress=told,
    )
    within = invert(
        states,
        eps=eps,
        nu=nu,
        certify=0,
        known=known,
        seed=seed,
        progress=lambda done: told(2 * len(states) + done),
    )
    return _read(nearest, truths, verified=False), _read(within, truths, verified=True)


def _read(inversion: Inversion, truths: Sequence[tuple[int, ...]], *, verified: bool) -> Read:
    right = [
        sum(
            outcome.token == truth[outcome.position] and (outcome.verified or not verified)
            for outcome in recovery.outcomes
        )
        for recovery, truth in zip(inversion.recoveries, truths, strict=True)
    ]
    searched = [len(recovery.outcomes) for recovery in inversion.recoveries]
    whole = sum(one == of for one, of in zip(right, searched, strict=True))
    return Read(np.array(right, dtype=np.int64), whole)


def median_drift(states: Paths, others: Paths) -> float:
    """The median of ``||h - h'|| / ||h'||`` over all positions; NaN where a state is 0."""
    own, theirs = (torch.cat([one.cpu().double() for one in paths]) for paths in (states, others))
    norms = torch.linalg.vector_norm(theirs, dim=1)
    return float((torch.linalg.vector_norm(own - theirs, dim=1) / norms).median())
