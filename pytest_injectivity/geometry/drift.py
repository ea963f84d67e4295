"""Drift: how far the states of one model lie from those of another model for the same prompts."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.geometry.distances import row_norms


@dataclass(frozen=True)
class Drift:
    """The states of one layer held against another model's.

    Attributes:
        relative: of each prompt ``||h - h'|| / ||h'||``, with h' the other model's: 0 where the two
            are equal, infinite where only h' is zero, NaN where either is not finite.
        cosine: of the angle between the two; 1 where they are equal, NaN where one is zero.
    """

    relative: Float64[np.ndarray, " prompts"]
    cosine: Float64[np.ndarray, " prompts"]


def drift_between(
    states: Float[Tensor, "prompts hidden"],
    others: Float[Tensor, "prompts hidden"],
    *,
    block_elements: int = 2**22,
) -> Drift:
    """The drift of each row, in float64 whatever the two dtypes are.

    Args:
        states: row i is the state of prompt i.
        others: likewise, of the model they are held against.
        block_elements: of one temporary.
    """
    step = max(1, block_elements // max(1, states.shape[1]))
    parts = zip(torch.split(states, step), torch.split(others, step), strict=True)
    found = [_block(one.double(), other.double().to(one.device)) for one, other in parts]
    relative, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    return Drift(relative, cosine)


def _block(
    states: Float64[Tensor, "rows hidden"], others: Float64[Tensor, "rows hidden"]
) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, " rows"]]:
    apart, own, theirs = (
        row_norms(rows).cpu().numpy() for rows in (states - others, states, others)
    )
    products = (states * others).sum(dim=1).cpu().numpy()
    same = apart == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(same, 0.0, apart / theirs)
        cosine = np.where(same, 1.0, products / (own * theirs))
    return relative, cosine.clip(-1.0, 1.0)
