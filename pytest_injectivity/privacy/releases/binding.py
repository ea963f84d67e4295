"""Binds a release spec to the rows it is for: relative strengths become numbers, steps a chain."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import ReleaseSpec, StepSpec
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.composition import ChainedRelease, SidewiseRelease
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_steps
from pytest_injectivity.privacy.releases.row_use import RowUse, row_use


def bind(spec: ReleaseSpec, observed: Observed) -> Release:
    """Makes the release that a spec names, for the rows observed.

    Args:
        spec: the release as it was written.
        observed: the rows; strengths written ``rel`` are in units of their `typical_coordinate`.

    Raises:
        OptionError: a strength does not fit the rows, or a step does not fit the place.
    """
    sides = [torch.split(rows, list(observed.sides), dim=1) for rows in observed.rows]
    scales = [
        RowScale(width, typical_coordinate([one[at] for one in sides], observed))
        for at, width in enumerate(observed.sides)
    ]
    alike = len(observed.sides) if len(set(observed.sides)) == 1 else 0
    whole = RowScale(observed.width, typical_coordinate(observed.rows, observed), alike)
    if any(release_steps()[step.name].of_states for step in spec.steps):
        scales = [replace(scales[0], use=_row_use(spec, observed))]
    first = _bind_step(spec.steps[0], replace(whole, prompts=observed.rows), scales)
    steps = (first, *(_bind_step(step, whole, scales) for step in spec.steps[1:]))
    return steps[0] if len(steps) == 1 else ChainedRelease(steps)


def typical_coordinate(
    rows: Sequence[Float[Tensor, "_positions width"]], observed: Observed
) -> float:
    """The unit of strengths written ``rel``: the rows' mean norm over the square root of their width.

    Rows of position 0 are left out where there are others: attention sinks are tens of times as long
    as other rows, and noise in their units would drown all others.

    Args:
        rows: the rows of each prompt, or one side of them.
        observed: says at which positions the rows stand.
    """
    kept = [
        one[at]
        for prompt, one in enumerate(rows)
        for at, position in enumerate(observed.positions(prompt))
        if position
    ] or [row for one in rows for row in one]
    norms = torch.linalg.vector_norm(torch.stack(kept).cpu().double(), dim=1)
    return float(norms.mean()) / math.sqrt(rows[0].shape[1])


def _row_use(spec: ReleaseSpec, observed: Observed) -> Callable[[int], RowUse]:
    place = observed.place
    if not place.of_states or place.averaged or observed.model is None:
        named = [step for step in spec.steps if release_steps()[step.name].of_states]
        raise OptionError(
            f"{named[0]} at {observed.place}: it needs what the model makes of the states of one layer:"
            f" give a layer alone, as in {named[0]}@8"
        )
    if any(release_steps()[step.name].of_states for step in spec.steps[1:]):
        raise OptionError(
            f"{spec}: a step that knows what the model makes of states acts on these as they are:"
            " give it first"
        )
    return partial(row_use, observed)


def _bind_step(step: StepSpec, whole: RowScale, sides: Sequence[RowScale]) -> Release:
    """The release of one step, on whole rows or on each side by itself."""
    found = release_steps()[step.name]
    if found.whole_rows:
        return found.bind(step, whole)
    parts = tuple(found.bind(step, side) for side in sides)
    if len(parts) == 1:
        return parts[0]
    return SidewiseRelease(parts, tuple(side.width for side in sides))
