"""How far external states may lie from the model's own, and whether they are its states at all.

The error of external states is not this machine's resolution (SPEC section 4): they may come from
other kernels, another precision or a lossy channel. Where the error is not given, it is estimated
at the first token, the only position where nothing else is unknown: its states are looked up in the
table of all tokens, after the special tokens that the tokenizer puts first. A nearest candidate so
near that no other could be the token is taken for it, and its residual, relative to the state's
norm, for the error at all later positions, doubled because a first token has no context that could
be off. The error is never taken to be less than rounding to the states' dtype.

Where no first token has such a candidate, the states are not of this model at this layer, or their
error is too large to invert them. A residual above `MOST_RELATIVE` of a state's norm is never taken
for an error, since any state has some nearest candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.one_step import OneStep, distances_from_each, local_margins
from pytest_injectivity.inversion.token_classes import token_classes
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.tolerance_by_norm import ToleranceByNorm

MOST_RELATIVE = 2.0**-5
"""Eight times the unit round-off of bfloat16. Trained models of 4 to 6 layers, evaluated in it, were off
by up to 0.012 of a state's norm."""

LOOKED_AT = 16
"""Prompts whose first tokens are looked up: each costs as much as a pass over the table."""

_CONTEXT = 2.0
_WIDENED = 4.0


class Match(StrEnum):
    """Whether states are those of the model at the layer."""

    YES = "a first token verifies"
    UNCLEAR = "a token is near, and too far or too close to another one to verify"
    NO = "nothing verifies at the first token"


@dataclass(frozen=True)
class Observation:
    """What the first tokens say.

    Attributes:
        match: whether the states are the model's.
        position: of the token looked up: after the special tokens that all prompts begin with.
        looked_at: prompts whose token was.
        verified: how many of them verify.
        residual: the smallest distance of a state there from its nearest candidate.
        norm: the median norm of the states there.
        resolution: the model's own resolution there.
        error: the observation error at positions 0, 1, …, the last for all after, given or estimated.
        relative: the estimate in units of a state's norm; None where the error was given.
        eps: the error and, on top, the resolution of the candidates.
    """

    match: Match
    position: int
    looked_at: int
    verified: int
    residual: float
    norm: float
    resolution: float
    error: tuple[float, ...]
    relative: float | None
    eps: tuple[float, ...]

    def tolerance(self, median_norms: tuple[float, float]) -> ToleranceByNorm:
        """``eps`` by the length of a state too: an error that was given does not grow with it.

        Args:
            median_norms: of the model's states at position 0 and at later ones.
        """
        given = self.error if self.relative is None else (0.0,)
        return ToleranceByNorm(self.eps, median_norms, given)


@dataclass(frozen=True)
class _Look:
    """One state in the table of its position."""

    token: int
    residual: float
    margin: float
    norm: float

    def unique(self, nu: float) -> bool:
        """No other candidate can be the truth, if the error is no more than the residual."""
        return self.residual + nu < self.margin / 2

    def near(self, nu: float) -> bool:
        """The residual may be an error of observation."""
        return self.residual <= MOST_RELATIVE * self.norm + nu

    def within(self, eps: float, nu: float) -> bool:
        """It verifies, by the backoff of an inversion too."""
        return self.residual <= eps or (self.residual <= _WIDENED * eps and self.unique(nu))


def observe_first(
    decoder: Decoder,
    states: Sequence[Float[Tensor, "_length hidden"]],
    layer: Layer,
    *,
    nu: tuple[float, float],
    given: tuple[float, ...] | None = None,
    special: tuple[int, ...] = (),
    looked_at: int = LOOKED_AT,
) -> Observation:
    """Looks up the first tokens of prompts by their states.

    Args:
        decoder: the model the states are to be inverted with.
        states: finite, of each prompt at every position.
        layer: where they were captured.
        nu: the model's resolution at position 0 and at later ones.
        given: the observation error at positions 0, 1, …, the last for all after.
        special: tokens that the tokenizer puts before every text.
        looked_at: prompts whose first tokens are looked up, at most.
    """
    passed = _look_up(decoder, states, layer, special, looked_at)
    looks, at = passed[-1], len(passed) - 1
    resolution, relative = nu[min(at, 1)], None
    if given is None:
        trusted = [one for one in looks if one.unique(resolution) and one.near(resolution)]
        rounding = _rounding(decoder, states)
        relative = max([rounding, *(one.residual / one.norm for one in trusted if one.norm)])
        error = _estimate([*passed[:-1], trusted], rounding)
        error = (*error, _CONTEXT * relative * _later_norm(states, at))
    else:
        error = tuple(given[min(t, len(given) - 1)] for t in range(max(len(given), at + 2)))
        trusted = [one for one in looks if one.within(error[at] + resolution, resolution)]
    unclear = any(one.near(resolution) for one in looks)
    return Observation(
        match=Match.YES if trusted else Match.UNCLEAR if unclear else Match.NO,
        position=at,
        looked_at=len(looks),
        verified=len(trusted),
        residual=min(one.residual for one in looks),
        norm=float(np.median([one.norm for one in looks])),
        resolution=resolution,
        error=error,
        relative=relative,
        eps=tuple(one + nu[min(t, 1)] for t, one in enumerate(error)),
    )


def check_asked(prompts: Sequence[object], certify: int | None) -> None:
    """Refuses an inversion of no prompt, and a number of certificates below 0.

    Raises:
        OptionError: it is one.
    """
    if not prompts or (certify is not None and certify < 0):
        raise OptionError(
            f"{len(prompts)} prompts to invert, certify={certify}: give the states of at least one"
            " prompt, and a number of positions that is at least 0"
        )


def check_states(
    decoder: Decoder, states: Float[Tensor, "length hidden"], known: Sequence[int]
) -> None:
    """Refuses states of a prompt that do not fit the model or the known tokens.

    Raises:
        OptionError: their width or their number is wrong.
    """
    length, hidden = states.shape
    if hidden != decoder.hidden_size:
        raise OptionError(
            f"states of width {hidden} cannot be inverted with {decoder.source}, whose"
            f" states have width {decoder.hidden_size}"
        )
    longest = decoder.context
    if length <= len(known) or (longest is not None and length > longest):
        raise OptionError(
            f"states of {length} positions, the first {len(known)} of them known: give at"
            f" least one more than is known, and at most {longest or 'any number'} in all"
        )


def _look_up(
    decoder: Decoder,
    states: Sequence[Float[Tensor, "_length hidden"]],
    layer: Layer,
    special: tuple[int, ...],
    looked_at: int,
) -> list[list[_Look]]:
    """The first tokens of some prompts, position by position, up to the first that is not special."""
    chosen, shortest = states[:looked_at], min(map(len, states))
    classes = token_classes(decoder)
    frame = classes.representative[torch.tensor(special, dtype=torch.long)].tolist()
    passed: list[list[_Look]] = []
    for position in range(len(special) + 1):
        table = OneStep.of(decoder, layer, special[:position])(classes.tokens)
        targets = torch.stack([one[position] for one in chosen])
        passed.append(_looks(table, classes.tokens, targets))
        if position + 1 == shortest or any(
            one.token != token for one in passed[-1] for token in frame[position : position + 1]
        ):
            break
    return passed


def _looks(
    table: Float[Tensor, "candidates hidden"],
    tokens: Int64[Tensor, " candidates"],
    states: Float[Tensor, "prompts hidden"],
) -> list[_Look]:
    states = states.to(table.device)
    residuals, nearest = distances_from_each(table, states).min(dim=1)
    # Apple's GPUs have no float64.
    norms = torch.linalg.vector_norm(states.cpu().double(), dim=1)
    found = (tokens[nearest], residuals, local_margins(table, nearest), norms)
    return [_Look(*one) for one in zip(*(part.tolist() for part in found), strict=True)]


def _estimate(passed: Sequence[Sequence[_Look]], rounding: float) -> tuple[float, ...]:
    """The largest residual of the tokens trusted at each position, and no less than rounding."""
    return tuple(
        max((max(one.residual, rounding * one.norm) for one in looks), default=0.0)
        for looks in passed
    )


def _rounding(decoder: Decoder, states: Sequence[Float[Tensor, "_length hidden"]]) -> float:
    """Unit round-off of the states' dtype where it is coarser than the model's; else 0."""
    theirs, own = (torch.finfo(dtype).eps / 2 for dtype in (states[0].dtype, decoder.dtype))
    return theirs if theirs > own else 0.0


def _later_norm(states: Sequence[Float[Tensor, "_length hidden"]], position: int) -> float:
    """The median norm of states after a position: of that position where there are none."""
    later = [one[position + 1 :] for one in states if len(one) > position + 1]
    rows = torch.cat(later or [one[position:] for one in states])
    return float(torch.linalg.vector_norm(rows.double(), dim=1).median())
