"""Numbers in the widest precision that a device computes in."""

from torch import Tensor

from pytest_injectivity.core.shapes import Float


def wide(numbers: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The numbers in float64; in float32 on mps, which has no double precision.

    Example:
        >>> import torch
        >>> wide(torch.ones(2, dtype=torch.bfloat16)).dtype
        torch.float64
    """
    return numbers.float() if numbers.device.type == "mps" else numbers.double()
