"""How a target's activations are rounded as its model runs, and where the scales come from."""

from typing import TYPE_CHECKING, Protocol

from pytest_injectivity.audit.keys import ActivationScalesKey
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.quantization.grid import Rounded

if TYPE_CHECKING:
    from pytest_injectivity.audit.target.target_store import Kept
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.quantization.activation_hooks import Rounding


class HasActivations(Protocol):
    """The parts of a `Target` that scales are made from."""

    @property
    def config(self) -> AuditConfig:
        """What is audited and how."""

    @property
    def prompts(self) -> "PromptSet":
        """The prompt set."""

    @property
    def unrounded(self) -> "Decoder":
        """The model as it was loaded."""

    @property
    def kept(self) -> "Kept":
        """The store."""


def rounded_of(target: HasActivations) -> Rounded | None:
    """The grid in words, with the prompts that its scales come from; None where nothing is rounded."""
    grid = target.config.activation_bits
    if grid is None or grid.per == "token":
        return None if grid is None else Rounded(str(grid))
    from pytest_injectivity.models.calibration import calibration_prompts

    sample = calibration_prompts(grid, target.prompts)
    return Rounded(str(grid), len(sample), sample.hash)


def rounding_of(target: HasActivations) -> "Rounding":
    """What rounds activations of a target whose config says so, with scales from the store or measured.

    Raises:
        OptionError: activations have no scale.
    """
    from pytest_injectivity.models.calibration import calibrate, calibration_prompts
    from pytest_injectivity.quantization.activation_hooks import Rounding

    grid = target.config.activation_bits
    assert grid is not None  # noqa: S101 - only called where bits are given
    if grid.per == "token":
        return Rounding(grid)
    sample = calibration_prompts(grid, target.prompts)
    return target.kept.model.remember(
        ActivationScalesKey(str(grid), sample.hash),
        lambda: calibrate(target.unrounded, sample.ids, grid),
    )
