"""``gaussian(sigma)``: adds independent Gaussian noise to every coordinate."""

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.config.release_steps import Amount
from pytest_injectivity.privacy.releases.base import NoiseRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step


@release_step("gaussian")
def bind_gaussian(step: StepSpec, rows: RowScale) -> Release:
    """Makes isotropic noise."""
    sigma = rows.sigma(step.value("sigma", Amount))
    return NoiseRelease(rows.width, Noise.isotropic(rows.width, sigma))
