"""A line on the positions that were compared with the whole vocabulary (SPEC section 4)."""

from typing import TYPE_CHECKING

from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.stats import clopper_pearson

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.recovered import Recovered

_CONFIDENCE = 0.95
_LEAST_FOR_A_RATE = 20


def certified_lines(found: "Recovered", *, budgeted: bool) -> list[str]:
    """A line on the positions that were compared with the whole vocabulary, where there are any.

    The positions are a random draw from those of the prompts inverted, so that the exact interval holds
    for their rate whatever the prompts have in common.

    Args:
        found: the recovery.
        budgeted: whether as many were drawn as cost what the recovery did.
    """
    if not found.certified:
        return []
    until = ", until they had cost what the recovery did" if budgeted else ""
    line = (
        f"{number_of(found.certified, 'position')}, drawn at random, passed over the whole"
        f" vocabulary{until}:"
        f" {found.ambiguous} ambiguous"
    )
    if found.certified >= _LEAST_FOR_A_RATE:
        line += f", rate {clopper_pearson(found.ambiguous, found.certified, _CONFIDENCE)}"
    else:
        line += f" (no rate is stated of fewer than {_LEAST_FOR_A_RATE})"
    if found.smallest_margin is not None:
        line += f", smallest local margin {show(found.smallest_margin)}"
    return [line]
