"""``lowrank(rank, sigma, seed)``: adds Gaussian noise in a few directions, which everybody knows.

It adds as much noise in total as ``gaussian`` does for the same sigma: sigma is the root mean square of
what is added to a coordinate. Euclidean distances are lost in the loud directions, while the other
directions still identify every token.
"""

import math

import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.config.release_steps import Amount
from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.base import NoiseRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step
from pytest_injectivity.privacy.releases.rotation import random_rotation


@release_step("lowrank")
def bind_lowrank(step: StepSpec, rows: RowScale) -> Release:
    """Makes noise in orthogonal directions drawn by the seed.

    Raises:
        OptionError: the rank is not below the width of the rows.
    """
    sigma = rows.sigma(step.value("sigma", Amount))
    factor = _directions(rows.width, step.value("rank", int), step.value("seed", int), sigma)
    return NoiseRelease(rows.width, Noise(torch.zeros(rows.width, dtype=torch.float64), factor))


def _directions(width: int, rank: int, seed: int, sigma: float) -> Float64[Tensor, "rank width"]:
    if rank >= width:
        raise OptionError(
            f"rank={rank} of rows of width {width}: give a rank below it (gaussian is noise in every"
            " direction)"
        )
    found: Tensor = random_rotation(width, seed)[:rank] * (sigma * math.sqrt(width / rank))
    return found
