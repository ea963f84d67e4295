"""``directed(sigma, seed)``: Gaussian noise that is loud where next tokens depend on a row the least.

Of all Gaussian noise of one size and one entropy, noise whose covariance is the inverse of the next
tokens' sensitivity (`row_use`) costs the least divergence. Directions that next tokens hardly depend on
at all are as if they did by a hundredth of the mean, so that no direction has all of the noise. sigma is
the root mean square of what is added to a coordinate, as for ``gaussian``. Everybody can compute the
directions.
"""

import torch

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.config.release_steps import Amount
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.base import NoiseRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step

# The least sensitivity of a direction, as a share of the mean.
_LEAST = 0.01


@release_step("directed", of_states=True)
def bind_directed(step: StepSpec, rows: RowScale) -> Release:
    """Makes noise in the directions of the model's sensitivity.

    Raises:
        OptionError: the sigma does not fit the rows, or no next token depends on them.
    """
    sigma = rows.sigma(step.value("sigma", Amount))
    sensitivity = rows.known_use(step.value("seed", int)).sensitivity
    sizes, directions = torch.linalg.eigh(sensitivity)
    mean = float(sizes.mean())
    if not mean > 0.0:
        raise OptionError(f"{step}: no next token depends on these rows: give gaussian")
    spread = (sizes.clamp(min=0.0) + _LEAST * mean).rsqrt()
    spread *= sigma / spread.square().mean().sqrt()
    none = torch.zeros(rows.width, dtype=torch.float64)
    return NoiseRelease(rows.width, Noise(none, (directions * spread).T.contiguous()))
