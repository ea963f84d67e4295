"""Whether a model's states are its parent's in another basis (SPEC section 7, "Another basis").

Quantization by rotation (QuaRot, SpinQuant) multiplies what every block reads and writes by one
orthogonal matrix: the function is the same, and every state is turned. A residual stream has one basis,
so the matrix is fitted on the embeddings of half of the tokens (the orthogonal Procrustes problem,
Schönemann, 1966) and judged on rows that it was not fitted on: the other tokens, and the prompts' states
of a layer.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64

EXPLAINS = 0.5
"""The largest median ``||h - h'|| / ||h'||`` of states that a map explains; of unrelated ones 1.4."""

TIMES = 3.0
"""How many times nearer to the parent's a rotation must bring the states than they are without one."""

_TOKENS_A_WIDTH = 8
_FEWEST_A_WIDTH = 1


class BasisKind(StrEnum):
    """What brings a layer's states to the parent's."""

    IDENTITY = "identity"
    ROTATED = "rotated"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Rotation:
    """The orthogonal map from a model's embeddings to its parent's.

    Attributes:
        tokens: how many tokens it was fitted on; it is judged on as many others.
        width: of a state.
        before: the median ``||e - e'|| / ||e'||`` of the other tokens, as they are.
        after: the same, mapped; NaN where there are too few tokens to fit a map.
        matrix: ``e @ matrix`` is near ``e'``; None where that explains the other tokens no better.
    """

    tokens: int
    width: int
    before: float
    after: float
    matrix: Float64[np.ndarray, "width width"] | None


@dataclass(frozen=True)
class Basis:
    """The basis of a layer's states, seen from the parent.

    Attributes:
        kind: ``identity`` where the states lie near the parent's as they are; ``rotated`` where they do
            after a rotation; ``unknown`` where neither is so, or too little is known to tell.
        before: the median ``||h - h'|| / ||h'||`` over the prompts, as the states are.
        after: the same, rotated; NaN where no rotation was tried.
        words: a sentence for people; empty for the identity.
        matrix: ``h @ matrix`` is near ``h'``, and of layers before the final norm orthogonal, so that
            ``h' @ matrix.T`` is a parent's state in the model's basis; None unless rotated.
    """

    kind: BasisKind
    before: float
    after: float = float("nan")
    words: str = ""
    matrix: Float64[np.ndarray, "width width"] | None = None


def fit_rotation(
    own: Float[Tensor, "tokens width"], parents: Float[Tensor, "others width"]
) -> Rotation:
    """Fit the orthogonal map on the embeddings of half of the tokens, judge it on the other half.

    Args:
        own: a row a token, of the model.
        parents: likewise, of its parent. Tokens beyond the shorter table are left out, and so are rows
            of zeros; of a large vocabulary tokens at equal steps stand for all.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> parents = torch.randn(64, 8, generator=generator)
        >>> turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator))
        >>> found = fit_rotation(parents @ turn.T, parents)
        >>> found.after < 1e-5 < found.before, bool(np.allclose(found.matrix, turn, atol=1e-5))
        (True, True)
    """
    rows, width = min(len(own), len(parents)), own.shape[1]
    step = max(1, rows // (2 * _TOKENS_A_WIDTH * width))
    mine, theirs = (one[:rows:step].cpu().double() for one in (own, parents))
    kept = (mine.norm(dim=1) > 0) & (theirs.norm(dim=1) > 0)
    mine, theirs = mine[kept], theirs[kept]
    before = median_distance(mine[1::2], theirs[1::2])
    tokens = len(mine[::2])
    if tokens < _FEWEST_A_WIDTH * width or not bool(
        mine.isfinite().all() & theirs.isfinite().all()
    ):
        return Rotation(tokens, width, before, float("nan"), None)
    lengths = theirs[::2].norm(dim=1, keepdim=True)
    left, _, right = torch.linalg.svd((mine[::2] / lengths).T @ (theirs[::2] / lengths))
    matrix = left @ right
    after = median_distance(mine[1::2] @ matrix, theirs[1::2])
    explains = is_rotation(before, after)
    return Rotation(tokens, width, before, after, matrix.numpy() if explains else None)


def is_rotation(before: float, after: float) -> bool:
    """Whether a rotation explains states that lie as far from the parent's without it and with it.

    >>> is_rotation(1.4, 0.2), is_rotation(1.4, 0.6), is_rotation(0.4, 0.3)
    (True, False, False)
    """
    return before > EXPLAINS >= after and after * TIMES <= before


def median_distance(
    states: Float[Tensor, "rows width"], others: Float[Tensor, "rows width"]
) -> float:
    """The median over rows of ``||h - h'|| / ||h'||``, in float64."""
    if not len(states):
        return float("nan")
    exact = others.double()
    apart = (states.double() - exact).norm(dim=1) / exact.norm(dim=1)
    return float(apart.nan_to_num(nan=0.0, posinf=float("inf")).median())
