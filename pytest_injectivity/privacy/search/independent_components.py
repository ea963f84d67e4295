"""Independent component analysis: the rows that mixed rows are combinations of, as FastICA finds them.

The coordinates are samples, the rows are sources. Rows are centered and whitened, and then turned until
each one's coordinates are as far from Gaussian as they can be, all rows at once.

Source: Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis" (1999),
with the logarithm of the hyperbolic cosine and symmetric decorrelation.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64

_STEPS = 100
# How near to the last turn a turn is that ends the search.
_STILL = 1e-6


def independent_components(
    mixed: Float[Tensor, "rows width"], seed: int
) -> Float64[Tensor, "components width"]:
    """The sources of mixed rows, centered and of variance 1; their order and signs mean nothing.

    Args:
        mixed: fewer rows than coordinates; those that others make up have no component.
        seed: of the turn that the search begins with.
    """
    centered = mixed.cpu().double()
    centered = centered - centered.mean(dim=1, keepdim=True)
    _, lengths, directions = torch.linalg.svd(centered, full_matrices=False)
    kept = lengths > lengths[0] * torch.finfo(mixed.dtype).eps * max(mixed.shape)
    white = directions[kept] * mixed.shape[1] ** 0.5
    draw = torch.Generator().manual_seed(seed)
    turn = _orthogonal(torch.randn(len(white), len(white), generator=draw, dtype=torch.float64))
    for _ in range(_STEPS):
        bent = (turn @ white).tanh()
        slopes = (1 - bent.square()).mean(dim=1, keepdim=True)
        last, turn = turn, _orthogonal(bent @ white.T / white.shape[1] - slopes * turn)
        if float((1 - (turn * last).sum(dim=1).abs()).max()) < _STILL:
            break
    found: Tensor = turn @ white
    return found


def _orthogonal(matrix: Float64[Tensor, "size size"]) -> Float64[Tensor, "size size"]:
    """The nearest orthogonal matrix."""
    left, _, right = torch.linalg.svd(matrix)
    found: Tensor = left @ right
    return found
