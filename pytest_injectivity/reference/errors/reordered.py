"""Whether a matrix is the parent's with its rows or columns in another order ([VS] quotient by G).

Hidden units and heads may change places without a change of the function, where every matrix that they
are in does so. A matrix alone does not show that: the errors of the blocks do.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.reference.errors.wide import wide

# Rows, or columns, that are compared with each other, and numbers, of which copies are made.
_MOST = 8192
_MOST_NUMBERS = 2**25
_LOOKED_AT = 16
# The error that rounding to few bits leaves of the best order.
_SAME = 0.5


@dataclass(frozen=True)
class Reordered:
    """A matrix whose rows, or columns, are the parent's in another order.

    Attributes:
        side: which of them, ``rows`` or ``columns``.
        error: ``||W' - W|| / ||W||`` in the parent's order.
    """

    side: str
    error: float


def reordered(
    own: Float[Tensor, "rows columns"], exact: Float[Tensor, "rows columns"]
) -> Reordered | None:
    """The order in which a matrix is near its parent's; None where there is none.

    Each row goes to the parent's nearest one; likewise columns. Of rows that are equal in the parent as
    many must come, and rows of zeros stay out of it. Where two rows are nearer to each
    other than they are rounded, a row may go to the wrong one of them, and no order is found. A matrix
    that is larger than 8,192 on a side is not looked at there, and one of more than 2^25 numbers not at
    all.

    Example:
        >>> import torch
        >>> exact = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> reordered(exact.flip(0), exact)
        Reordered(side='rows', error=0.0)
    """
    if exact.numel() > _MOST_NUMBERS:
        return None
    ours, theirs = wide(own), wide(exact)
    errors = {"rows": _error_in_order(ours, theirs), "columns": _error_in_order(ours.T, theirs.T)}
    side = min(errors, key=lambda one: errors[one])
    return Reordered(side, errors[side]) if errors[side] <= _SAME else None


def _error_in_order(own: Tensor, exact: Tensor) -> float:
    """The error in the parent's order of rows; infinite where there is none."""
    own, exact = own[own.any(1)], exact[exact.any(1)]
    rows = len(exact)
    if not len(own) == rows > 0:
        return math.inf
    # A few rows show whether it is worth a product of all with all.
    if rows > _MOST or _nearest(own[:: max(1, rows // _LOOKED_AT)], exact)[1] > _SAME:
        return math.inf
    different, counts = exact.unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call] # torch has no types for it
    order, apart = _nearest(own, different)
    return apart if order.bincount(minlength=len(counts)).equal(counts) else math.inf


def _nearest(own: Tensor, exact: Tensor) -> tuple[Tensor, float]:
    """The parent's row that each row is nearest to, and the error of these rows."""
    order = (own @ exact.T - exact.square().sum(1) / 2).argmax(1)
    apart = float((own - exact[order]).norm() / exact[order].norm())
    return order, math.inf if math.isnan(apart) else apart
