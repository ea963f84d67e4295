"""Spearman's rank correlation of a few numbers, without numpy: the page of a run has one too."""

import math
from collections.abc import Sequence
from itertools import chain, groupby

from pytest_injectivity.errors import OptionError


def ranks(values: Sequence[float]) -> list[float]:
    """The place of each number in their order, from 1 on; equal ones share the mean of theirs.

    Example:
        >>> ranks([0.5, 7.0, 0.5])
        [1.5, 3.0, 1.5]
    """
    found = [0.0] * len(values)
    before = 0
    for _, same in groupby(sorted(range(len(values)), key=values.__getitem__), values.__getitem__):
        alike = list(same)
        for at in alike:
            found[at] = before + (len(alike) + 1) / 2
        before += len(alike)
    return found


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The correlation of the ranks of two quantities at the same points.

    Args:
        one: a number at each point, finite or infinite.
        other: as many.

    Returns:
        From -1 to 1; NaN where one of the two is the same everywhere, or any number is NaN.

    Raises:
        OptionError: the two have not as many numbers.

    Source: Spearman 1904.

    Example:
        >>> round(spearman([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 9.0, 4.0]), 3)
        0.8
    """
    if len(one) != len(other):
        raise OptionError(
            f"a correlation of {len(one)} numbers with {len(other)}: give as many of both"
        )
    if any(map(math.isnan, chain(one, other))):
        return math.nan
    middle = (len(one) + 1) / 2
    left, right = ([rank - middle for rank in ranks(values)] for values in (one, other))
    both = sum(x * y for x, y in zip(left, right, strict=True))
    squares = math.prod(sum(x * x for x in side) for side in (left, right))
    return both / math.sqrt(squares) if squares > 0 else math.nan
