"""The error of a block that bits and dtype explain."""

import math
from collections.abc import Sequence

import torch

from pytest_injectivity.reference.errors.block_error import BlockError
from pytest_injectivity.reference.errors.bounds import bounds_of

_ROUNDINGS = 4.0
_SELVES = 4.0


def explained(
    one: BlockError, bits: float, *, dtypes: Sequence[str], rounds_activations: bool
) -> float:
    """The largest error of a site that has no other cause than rounding.

    Args:
        one: what was measured there.
        bits: the fewest that were proved of its weights.
        dtypes: what the two models compute in, such as ``bfloat16``. A block rounds its states to it,
            which is an error of the branch as many times larger as the states are.
        rounds_activations: the model rounds activations as it runs.
    """
    row = bounds_of(bits)
    weights = row.rounded_block if rounds_activations else row.block
    return math.hypot(weights, of_arithmetic(one, dtypes=dtypes))


def of_arithmetic(one: BlockError, *, dtypes: Sequence[str]) -> float:
    """The largest error of a site that the arithmetic of the two models explains, weights being equal.

    Args:
        one: what was measured there.
        dtypes: what the two models compute in.
    """
    unit = max(torch.finfo(getattr(torch, dtype)).eps / 2 for dtype in dtypes)
    # Of a block that adds nothing an error of any size is one: no bound is infinite.
    residual = one.residual if math.isfinite(one.residual) else 1.0
    return math.hypot(_ROUNDINGS * unit * max(1.0, residual), _SELVES * one.itself)
