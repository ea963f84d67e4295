"""The registry of release steps: from the name of a step to the function that binds it to rows.

A step is a module of ``steps/`` that decorates one function::

    @release_step("round")
    def bind_round(step: StepSpec, rows: RowScale) -> Release:
        return RoundRelease(rows.width, step.value("bits", int))

The parameters of the step stand in the table `config.release_steps.STEPS`, where the grammar reads them
without importing torch. The modules of ``steps/`` are imported when the first release is bound.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeAlias

from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.config.release_steps import STEPS, Amount
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.row_use import RowUse


@dataclass(frozen=True)
class RowScale:
    """Width and size of the rows that a step is bound to.

    Attributes:
        width: number of coordinates of a row.
        typical: the typical coordinate, in the rows' units (`binding.typical_coordinate`).
        sides: how many sides of one width make up a row: two for two layers; 0 where widths differ.
        use: by a seed, what the model makes of rows of states; None of other rows.
        prompts: the rows of each prompt, for a step that acts on whole rows of several prompts; empty
            where an earlier step changes rows.
    """

    width: int
    typical: float
    sides: int = 1
    use: Callable[[int], RowUse] | None = None
    prompts: tuple[Float[Tensor, "_positions width"], ...] = field(default=(), repr=False)

    def sigma(self, amount: Amount) -> float:
        """A standard deviation in the rows' units.

        Args:
            amount: as it was written: absolute or relative.

        Raises:
            OptionError: the standard deviation is 0 or not finite on these rows.
        """
        sigma = amount.value * (self.typical if amount.relative else 1.0)
        if not 0.0 < sigma < math.inf:
            raise OptionError(
                f"sigma={amount} of rows of size {self.typical:.3g} is no standard deviation"
            )
        return sigma

    def known_use(self, seed: int) -> RowUse:
        """What the model makes of rows, by texts drawn by a seed."""
        if self.use is None:
            raise TypeError("the step must be registered with of_states=True")
        return self.use(seed)


Binder: TypeAlias = Callable[[StepSpec, RowScale], Release]
"""Makes the release of one step for rows of a width and size."""


@dataclass(frozen=True)
class ReleaseStep:
    """How a step is bound to rows.

    Attributes:
        bind: makes the release.
        whole_rows: whether the step acts on whole rows; else it acts on keys and on values each with a
            scale of their own, where both are observed.
        of_states: whether the step needs to know what the model makes of the states of a layer
            (`RowScale.use`), and is refused elsewhere.
    """

    bind: Binder
    whole_rows: bool
    of_states: bool


_REGISTERED: dict[str, ReleaseStep] = {}


def release_step(
    name: str, *, whole_rows: bool = False, of_states: bool = False
) -> Callable[[Binder], Binder]:
    """Registers the function that binds a step.

    Args:
        name: name of the step, a row of `STEPS`.
        whole_rows: see `ReleaseStep`.
        of_states: see `ReleaseStep`.

    Raises:
        ValueError: the grammar has no such step, or the step is registered already.
    """
    if name not in STEPS or name in _REGISTERED:
        raise ValueError(f"step {name!r} must be a row of STEPS, and registered once")

    def register(bind: Binder) -> Binder:
        _REGISTERED[name] = ReleaseStep(bind, whole_rows, of_states)
        return bind

    return register


@cache
def release_steps() -> Mapping[str, ReleaseStep]:
    """All release steps, by name."""
    folder = import_module("pytest_injectivity.privacy.releases.steps")
    for module in iter_modules(folder.__path__):
        import_module(f"{folder.__name__}.{module.name}")
    return dict(_REGISTERED)
