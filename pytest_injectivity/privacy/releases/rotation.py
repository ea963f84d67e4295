"""Random orthogonal matrices, drawn by a seed."""

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float64


def random_rotation(width: int, seed: int | np.random.Generator) -> Float64[Tensor, "width width"]:
    """An orthogonal matrix, drawn uniformly from all rotations and reflections.

    It is Q of the QR decomposition of a Gaussian matrix, with the diagonal of R made positive.

    Args:
        width: the size of the matrix.
        seed: the same seed gives the same matrix; or what draws it.
    """
    drawn = np.random.default_rng(seed).standard_normal((width, width))
    q, r = torch.linalg.qr(torch.from_numpy(drawn))
    found: Tensor = q * r.diagonal().sign()
    return found
