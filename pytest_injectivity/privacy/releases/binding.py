"""A spec where the rows it is for are known: scales settled, steps chained, mistakes found.

Checked on the rows themselves and not on the text alone: what a release does to real states decides
whether it is one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import Amount, ReleaseSpec, StepSpec
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.composition import ChainedRelease, SidewiseRelease
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Noise, Release, draws
from pytest_injectivity.privacy.releases.steps import (
    CastRelease,
    IdentityRelease,
    NoiseRelease,
    PermuteRelease,
    RotateRelease,
    RoundRelease,
    TopKRelease,
    random_rotation,
)

_DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float8_e4m3fn,
}


def bind(spec: ReleaseSpec, observed: Observed) -> Release:
    """The release of these rows.

    Args:
        spec: as it was written.
        observed: rows it is for; strengths written ``rel`` are in units of their `typical_coordinate`.

    Raises:
        OptionError: a strength does not fit the rows.
    """
    sides = [torch.split(rows, list(observed.sides), dim=1) for rows in observed.rows]
    typical = [
        typical_coordinate([one[at] for one in sides], observed)
        for at in range(len(observed.sides))
    ]
    steps = tuple(
        _whole(step, observed.width) or _by_side(step, observed.sides, typical)
        for step in spec.steps
    )
    return steps[0] if len(steps) == 1 else ChainedRelease(steps)


def typical_coordinate(
    rows: Sequence[Float[Tensor, "_positions width"]], observed: Observed
) -> float:
    """What ``rel`` stands for: the mean norm of the rows over the square root of their width.

    Rows of position 0 are left out where there are others: attention sinks are tens of times as long
    as the rest, and noise measured by them would drown it.
    """
    kept = [
        one[at]
        for prompt, one in enumerate(rows)
        for at, position in enumerate(observed.positions(prompt))
        if position
    ] or [row for one in rows for row in one]
    norms = torch.linalg.vector_norm(torch.stack(kept).cpu().double(), dim=1)
    return float(norms.mean()) / math.sqrt(rows[0].shape[1])


def check_release(
    release: Release, observed: Observed, seed: int, name: str, *, same: bool
) -> None:
    """Refuses what is no release of these rows.

    Args:
        release: to be checked.
        observed: the rows.
        seed: of the draws.
        name: what messages call it.
        same: whether it says that nothing is changed.

    Raises:
        OptionError: it returns another shape, dtype or a number that is not finite, changes its
            argument in place, draws from elsewhere than its generator, or changes nothing.
    """
    changed = False
    for rows, ids in zip(observed.rows, observed.prompts, strict=True):
        if not bool(rows.isfinite().all()):
            raise OptionError(
                f"release {name}: the states it is for have a NaN or an infinity before anything is"
                " released: audit the model first (assert_no_collisions)"
            )
        given = rows.clone()
        sent = release.apply(given, draws(seed, ids))
        _check_rows(name, "apply", sent, rows)
        if not torch.equal(given, rows):
            raise OptionError(
                f"release {name}: apply changes the rows it is given: return new ones"
            )
        if not torch.equal(sent, release.apply(rows.clone(), draws(seed, ids))):
            raise OptionError(
                f"release {name}: apply gives something else when it is run again: take everything"
                " random from the generator it is given"
            )
        _check_rows(name, "undo", release.undo(sent, draws(seed, ids)), rows)
        changed = changed or not torch.equal(sent, rows)
    _check_rows(name, "image", release.image(observed.rows[0]), observed.rows[0])
    if not (changed or same):
        raise OptionError(
            f"release {name}: apply changes nothing on these {len(observed.rows)} prompts: its strength"
            " is below what the states' dtype can show, or it acts on one row alone; say identity where"
            " that is meant"
        )


def _check_rows(
    name: str, what: str, found: object, rows: Float[Tensor, "positions width"]
) -> None:
    if not isinstance(found, Tensor) or found.shape != rows.shape or found.dtype != rows.dtype:
        given = (
            f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found)
        )
        raise OptionError(
            f"release {name}: {what} returns {given}, where {tuple(rows.shape)} of {rows.dtype} is"
            " accepted: as many rows, as wide, as it is given"
        )
    if lost := int((~found.isfinite()).any(dim=1).sum()):
        raise OptionError(
            f"release {name}: {what} returns a NaN or an infinity in {lost} of {len(rows)} rows, which"
            " hides nothing and is of no use: give finite numbers"
        )


def _whole(step: StepSpec, width: int) -> Release | None:
    """The steps that ask nothing of a row."""
    if step.name == "identity":
        return IdentityRelease(width)
    return PermuteRelease(width) if step.name == "permute" else None


def _by_side(step: StepSpec, widths: Sequence[int], typical: Sequence[float]) -> Release:
    parts = tuple(_step(step, *one) for one in zip(widths, typical, strict=True))
    return parts[0] if len(parts) == 1 else SidewiseRelease(parts, tuple(widths))


def _step(step: StepSpec, width: int, typical: float) -> Release:
    given = dict(step.arguments)
    match step.name:
        case "gaussian":
            return NoiseRelease(width, Noise.isotropic(width, _sigma(given["sigma"], typical)))
        case "lowrank":
            sigma = _sigma(given["sigma"], typical)
            factor = _directions(width, int(str(given["rank"])), int(str(given["seed"])), sigma)
            return NoiseRelease(width, Noise(torch.zeros(width, dtype=torch.float64), factor))
        case "round":
            return RoundRelease(width, int(str(given["bits"])))
        case "topk":
            return TopKRelease(width, max(1, round(float(str(given["share"])) * width)))
        case "rotate":
            return RotateRelease(width, int(str(given["seed"])), known=given["key"] == "known")
        case "cast":
            return CastRelease(width, _DTYPES[str(given["dtype"])])
    raise OptionError(f"step {step.name!r} is not known")


def _sigma(amount: object, typical: float) -> float:
    if not isinstance(amount, Amount):
        raise TypeError(amount)
    sigma = amount.value * (typical if amount.relative else 1.0)
    if not 0.0 < sigma < math.inf:
        raise OptionError(f"sigma={amount} of rows of size {typical:.3g} is no standard deviation")
    return sigma


def _directions(width: int, rank: int, seed: int, sigma: float) -> Float64[Tensor, "rank width"]:
    """Orthogonal directions drawn by a seed that everybody knows.

    Together as much noise as ``gaussian`` of the same sigma has: ``sigma`` is the root mean square of
    a coordinate.
    """
    if rank >= width:
        raise OptionError(
            f"rank={rank} of rows of width {width}: give a rank below it (gaussian is noise in every"
            " direction)"
        )
    found: Tensor = random_rotation(width, seed)[:rank] * (sigma * math.sqrt(width / rank))
    return found
