"""Fits the rotation that brings a model's embeddings to its parent's (SPEC section 7, "Another basis").

Apart from `reference.basis`, because it needs torch.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.reference.basis import Rotation, is_rotation

_TOKENS_A_WIDTH = 8
_FEWEST_A_WIDTH = 1


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
        >>> matrix = torch.from_numpy(found.matrix).float()
        >>> found.after < 1e-5 < found.before, torch.allclose(matrix, turn, atol=1e-5)
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


def median_distance(
    states: Float[Tensor, "rows width"], others: Float[Tensor, "rows width"]
) -> float:
    """The median over rows of ``||h - h'|| / ||h'||``, in float64."""
    if not len(states):
        return float("nan")
    exact = others.double()
    apart = (states.double() - exact).norm(dim=1) / exact.norm(dim=1)
    return float(apart.nan_to_num(nan=0.0, posinf=float("inf")).median())
