"""Rows that are not finite, are zero, stand at other positions, or are of other tokens."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.shapes import Bool
from pytest_injectivity.core.text import number_of
from pytest_injectivity.states.faults.base import CLEARLY, ROW, Case, Fault, Kind, named, relative

_NAMED = 5


def not_finite(case: Case) -> Iterator[Fault]:
    """A NaN or an infinity."""
    for layer, rows in case.states.items():
        lost = ~rows.isfinite().all(dim=1)
        if lost.any():
            words = f"{int(lost.sum())} of {number_of(len(rows), 'row')} are not finite"
            yield Fault(Kind.NOT_FINITE, layer, words, f"{named(layer)}: {_positions(lost)}")


def model_not_finite(case: Case) -> Iterator[Fault]:
    """The model's own states are no numbers, and every hypothesis would hold or none."""
    for layer in case.states:
        if not case.own[layer].isfinite().all():
            words = "the model's own states are not finite"
            yield Fault(
                Kind.MODEL,
                layer,
                words,
                f"{named(layer)}: {words}: nothing tells what those of the file are",
            )


def zero_rows(case: Case) -> Iterator[Fault]:
    """Rows of zeros where the model's own are none: nothing was written there."""
    for layer, rows in case.states.items():
        zero = (rows == 0).all(dim=1) & (case.own[layer] != 0).any(dim=1)
        if zero.any():
            words = f"{int(zero.sum())} of {number_of(len(rows), 'row')} are zero"
            yield Fault(
                Kind.ZERO_ROWS,
                layer,
                words,
                f"{named(layer)}: {_positions(zero)}: the engine wrote none there, as for tokens whose"
                " keys and values it had cached before, or for a part of a chunked prefill",
            )


def shuffled_positions(case: Case) -> Iterator[Fault]:
    """Rows that are the model's states of other positions of the same prompt."""
    for layer, theirs in case.theirs.items():
        bound = case.bounds[layer]
        astray = case.off[layer] > ROW * bound
        if not astray.any():
            continue
        own = case.own[layer]
        places = [int(relative(theirs[at], own).argmin()) for at in astray.nonzero()[:, 0].tolist()]
        left = relative(theirs[astray], own[places])
        moved = (left <= ROW * bound) & (left <= CLEARLY * case.off[layer][astray])
        if moved.float().mean() > CLEARLY:
            at = moved.nonzero()[:, 0].tolist()[0]
            here, there = int(astray.nonzero()[at, 0]), places[at]
            count = int(moved.sum())
            words = f"{count} of {number_of(len(theirs), 'row')} are of other positions"
            yield Fault(
                Kind.POSITIONS,
                layer,
                words,
                f"{named(layer)}: {words}: the row at position {here} is that of position {there}",
            )


def other_rows(case: Case) -> Iterator[Fault]:
    """A few rows of a layer that fits otherwise are far from the model's."""
    for layer in case.states:
        far = case.off[layer] > ROW * case.bounds[layer]
        if far.any() and case.fits(layer):
            words = f"{int(far.sum())} of {number_of(len(far), 'row')} are of other tokens"
            yield Fault(
                Kind.ROWS,
                layer,
                words,
                f"{named(layer)}: {_positions(far)} lie up to {show(float(case.off[layer].max()))} of"
                f" the norm from the model's, the others within {show(case.bounds[layer])}",
            )


def _positions(chosen: Bool[Tensor, " tokens"]) -> str:
    places = torch.nonzero(chosen)[:, 0].tolist()
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    word = "position" if len(places) == 1 else "positions"
    return f"{word} {', '.join(map(str, places[:_NAMED]))}{more}"
