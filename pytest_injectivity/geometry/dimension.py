"""Two figures of how the states of a layer lie: anisotropy and intrinsic dimension (SPEC section 11).

In [N] version 4 they go along with the margin, at 0.72 and -0.60 (appendix E.5). Of the models here
they do not: the dimension grows with the margin, as depth does (docs/papers.md).
"""

import math

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.search.neighbors import k_nearest

_FEWEST = 3
# The largest ratios are left out, as the method's authors do: they are those of outliers.
_LEFT_OUT = 0.1
# Numbers below 2^40 and above 2^-40 have squares, and sums of them, that float32 holds.
_SQUARED = 40


def anisotropy(rows: Float[Tensor, "n hidden"]) -> float:
    """The mean cosine of two rows, over all pairs: 0 of isotropic rows, 1 of parallel ones.

    Equal rows are pairs like any others, of cosine 1: that states of two prompts collapse is what
    the number is to show.

    Args:
        rows: at least two finite rows other than zero.

    Raises:
        OptionError: there are fewer rows, or one is zero or not finite.

    Source: Ethayarajh, "How Contextual are Contextualized Word Representations?" (arXiv 1909.00512).

    Example:
        >>> anisotropy(torch.tensor([[1.0, 0.0], [2.0, 0.0]])), anisotropy(torch.eye(3))
        (1.0, 0.0)
    """
    largest = rows.double().abs().amax(dim=1, keepdim=True)
    if len(rows) < 2 or not bool((largest.isfinite() & (largest > 0)).all()):  # noqa: PLR2004 - a pair
        raise OptionError(f"anisotropy of {len(rows)} rows: give two or more, finite and not zero")
    # Squares of very large or small numbers are no numbers: the rows are scaled before.
    scaled = rows.double() / largest
    total = (scaled / scaled.norm(dim=1, keepdim=True)).sum(dim=0)
    count = len(rows)
    # The square of the sum has each pair twice, and each row with itself.
    return float((total @ total - count) / (count * (count - 1)))


def intrinsic_dimension(rows: Float[Tensor, "n hidden"]) -> float:
    """The dimension of what the rows lie on, by how much farther each one's second neighbor is (TwoNN).

    Equal rows have no first neighbor at a distance and are left out.

    Args:
        rows: finite rows.

    Raises:
        OptionError: a row is not finite, fewer than three are left, or all have two neighbors equally
            far.

    Source: Facco et al., "Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information" (2017), fitted by least squares through the origin, without the largest tenth.

    Example:
        >>> line = torch.rand(500, 1, generator=torch.Generator().manual_seed(0)) @ torch.ones(1, 9)
        >>> 0.8 < intrinsic_dimension(line) < 1.2
        True
    """
    if not bool(rows.isfinite().all()):
        lost = int((~rows.isfinite().all(dim=1)).sum())
        raise OptionError(
            f"the intrinsic dimension of {len(rows)} rows, {lost} of them not finite: give finite rows"
        )
    distinct: Tensor = rows.unique(dim=0)  # type: ignore[no-untyped-call] # torch has no types for it
    if len(distinct) < _FEWEST:
        raise OptionError(
            f"the intrinsic dimension of {len(distinct)} different rows: give {_FEWEST} or more"
        )
    distance = torch.from_numpy(k_nearest(_in_range(distinct), 2).distance)
    ratios = (distance[:, 1] / distance[:, 0]).log().sort().values
    kept = max(2, math.floor(len(ratios) * (1 - _LEFT_OUT)))
    share = torch.arange(1, kept + 1, dtype=torch.float64) / len(ratios)
    surprise, ratios = -(1 - share).log(), ratios[:kept]
    if not ratios[-1] > 0:
        raise OptionError(
            "the intrinsic dimension of rows whose two nearest neighbors are equally far, as those of a"
            " lattice are: give rows at different distances"
        )
    return float((ratios @ surprise) / ratios.square().sum())


def _in_range(rows: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
    """The rows, scaled by a power of two where squares of their numbers leave the range of floats."""
    power = math.frexp(float(rows.abs().max()))[1]
    if abs(power) < _SQUARED:
        return rows
    return torch.ldexp(rows.double(), torch.tensor(-power, device=rows.device))
