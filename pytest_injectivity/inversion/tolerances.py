"""Tolerances by position: how far an observed state may lie from the candidate it is.

They come from the noise floor at the positions inverted (SPEC section 2), passed in as numbers.
Position 0 has a floor of its own: attention sinks have norms, and so errors, far above the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.verifiers import Argmin, Ball, Verifier

Tolerance: TypeAlias = float | Sequence[float]
"""One number, or one for each of the positions 0, 1, …; the last serves all positions after it."""

VerifierName: TypeAlias = Literal["ball", "argmin"]


@dataclass(frozen=True)
class Tolerances:
    """What the verifier of each position is made of.

    Attributes:
        name: ``"ball"`` or ``"argmin"``.
        eps: the largest observation error at positions 0, 1, …, in the states' units.
        nu: how far two evaluations of one candidate may lie apart, likewise.
        backoff: the largest factor by which ``eps`` may be widened where nothing verifies.
    """

    name: VerifierName
    eps: tuple[float, ...]
    nu: tuple[float, ...]
    backoff: float

    @classmethod
    def of(
        cls, name: VerifierName, eps: Tolerance, nu: Tolerance | None, backoff: float
    ) -> "Tolerances":
        """Checks the name and the numbers; ``nu`` is ``eps`` where it is not given.

        Raises:
            OptionError: the name is neither, a tolerance is negative, infinite, NaN or empty, or
                backoff is below 1.
        """
        if name not in get_args(VerifierName):
            raise OptionError(f"verifier {name!r} is not known: give ball or argmin")
        if not 1.0 <= backoff < math.inf:
            raise OptionError(
                f"backoff={backoff!r} is not a factor to widen eps by: give a finite number that is"
                " at least 1 (1 widens nothing)"
            )
        return cls(name, _checked("eps", eps), _checked("nu", eps if nu is None else nu), backoff)

    def verifier(self, position: int) -> Verifier:
        """The verifier of one position."""
        ball = self.ball(position)
        return Argmin(ball.nu) if self.name == "argmin" else ball

    def ball(self, position: int) -> Ball:
        """The ball of one position, whatever the verifier's name."""
        eps, nu = (side[min(position, len(side) - 1)] for side in (self.eps, self.nu))
        return Ball(eps, nu, self.backoff)


def _checked(name: str, value: Tolerance) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    if not values or not all(0.0 <= one < math.inf for one in values):
        raise OptionError(
            f"{name}={value!r} is not a tolerance: give a finite number that is at least 0, or one"
            " for each of the first positions, the last serving all after it"
        )
    return values
