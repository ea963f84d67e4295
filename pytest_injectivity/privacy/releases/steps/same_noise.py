"""``same_noise(sigma)``: adds one draw of Gaussian noise to both sides of a row.

Whoever draws noise once a position and adds it to the states of two layers, or to keys and values, sends
their difference as it is. Of rows of one side it is the noise of ``gaussian``.
"""

import torch

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.config.release_steps import Amount
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.base import NoiseRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step


@release_step("same_noise", whole_rows=True)
def bind_same_noise(step: StepSpec, rows: RowScale) -> Release:
    """Makes noise whose directions are those of one side, repeated."""
    sigma = rows.sigma(step.value("sigma", Amount))
    if not rows.sides:
        raise OptionError(
            f"{step}: keys and values of these rows differ in width: give a place of keys, of values, or"
            " of two layers, as in 8 and 9"
        )
    if rows.sides == 1:
        return NoiseRelease(rows.width, Noise.isotropic(rows.width, sigma))
    directions = sigma * torch.eye(rows.width // rows.sides, dtype=torch.float64)
    none = torch.zeros(rows.width, dtype=torch.float64)
    return NoiseRelease(rows.width, Noise(none, directions.repeat(1, rows.sides)))
