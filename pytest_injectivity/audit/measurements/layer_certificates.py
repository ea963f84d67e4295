"""What is proved, estimated and unknown of a layer, from numbers that were measured anyway."""

import math
from typing import TYPE_CHECKING

from pytest_injectivity.audit.measurements.doubtful_pairs import DoubtfulPairs
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.results.certificates import Basis, Certificate, Claim

if TYPE_CHECKING:
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.states.resolution import LayerResolution

_ROUND_OFF = 2.0**-53
# Bytes of numbers whose differences have squares that float64 neither loses nor overflows by.
_SHORT = 4


def certificate_of(
    geometry: "LayerGeometry",
    lost: int,
    resolution: "LayerResolution",
    doubts: DoubtfulPairs | None,
) -> Certificate:
    """The certificate of a layer on the prompt set.

    Args:
        geometry: of its finite rows.
        lost: rows that are not finite.
        resolution: of the layer.
        doubts: its pairs near the resolution, decided; None where they were not.
    """
    if lost or len(geometry) < 2:  # noqa: PLR2004 - a pair is two
        why = "there are fewer than two states"
        if lost:
            why = f"{number_of(lost, 'state')} {verb(lost, 'is', 'are')} not finite"
        nothing = _unknown(why)
        return Certificate(nothing, nothing, nothing)
    return Certificate(
        _captured(geometry), _batched(geometry, doubts), _exact(geometry, resolution)
    )


def _captured(geometry: "LayerGeometry") -> Claim:
    if pairs := geometry.equal.pairs:
        return Claim(Basis.PROVED, distinct=False, why=_equal(pairs))
    why = f"{len(geometry)} states compared bit for bit"
    if geometry.nearest.recall is None and geometry.rows.element_size() <= _SHORT:
        error = (geometry.rows.shape[1] + 4) * _ROUND_OFF
        why += f"; closest pair {show(geometry.margin(q=0.0))}, right to a relative {error:.0e}"
    return Claim(Basis.PROVED, distinct=True, why=why)


def _batched(geometry: "LayerGeometry", doubts: DoubtfulPairs | None) -> Claim:
    if pairs := geometry.equal.pairs:
        return Claim(Basis.PROVED, distinct=False, why=_equal(pairs))
    if doubts is None:
        return _unknown("not evaluated: assert_no_collisions would")
    if doubts.blur is not None:
        return _unknown("evaluations of one prompt are as far apart as two prompts")
    if pairs := len(doubts.of_kind("collision")):
        why = f"{number_of(pairs, 'pair')} equal in one way of evaluating them"
        return Claim(Basis.PROVED, distinct=False, why=why)
    if pairs := len(doubts.of_kind("unresolved")) + doubts.beyond:
        return _unknown(f"{number_of(pairs, 'pair')} unresolved")
    why = "no pair is near the resolution of a sample"
    if near := len(doubts.pairs):
        why = f"{number_of(near, 'pair')} near the resolution of a sample, resolved by evaluation"
    return Claim(Basis.ESTIMATED, distinct=True, why=why)


def _exact(geometry: "LayerGeometry", resolution: "LayerResolution") -> Claim:
    if math.isnan(resolution.error):
        return _unknown("no distance to float64 was measured")
    if geometry.nearest.recall is not None:
        return _unknown("distances are an index's upper bounds")
    margin = geometry.margin(q=0.0)
    said = (
        f"{show(resolution.error)} from float64 at most, in a sample; closest pair {show(margin)}"
    )
    # Each of the two states may be off by the error.
    if margin > 2 * resolution.error:
        return Claim(Basis.ESTIMATED, distinct=True, why=said)
    return _unknown(said)


def _unknown(why: str) -> Claim:
    return Claim(Basis.UNKNOWN, distinct=None, why=why)


def _equal(pairs: int) -> str:
    return f"{number_of(pairs, 'pair')} equal bit for bit"
