from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def floor() -> Callable[[Tensor], float]:
    """A tolerance for a model's own states: four times the rounding term of SPEC section 2."""

    def tolerance(states: Tensor) -> float:
        unit = torch.finfo(states.dtype).eps / 2
        return 16 * unit * states.shape[-1] ** 0.5 * float(states.abs().max())

    return tolerance
