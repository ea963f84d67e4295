"""What is wrong with a tensor, in words: a wrong scale, a row, or more error than its bits explain."""

import math
from dataclasses import dataclass

from pytest_injectivity.core.numbers import show, times_over
from pytest_injectivity.reference.errors.bounds import TURNED, bounds_of
from pytest_injectivity.reference.errors.weight_error import WeightError


@dataclass(frozen=True)
class Finding:
    """The number of a tensor that is farthest above, or nearest to, what is accepted.

    Attributes:
        error: of the tensor.
        quantity: which number it is, in words.
        value: the number.
        bound: the largest that is accepted.
        words: what is wrong with the tensor.
    """

    error: WeightError
    quantity: str
    value: float
    bound: float
    words: str

    @property
    def times(self) -> float:
        """The number in units of what is accepted: above 1 the tensor is wrong; of NaN infinite."""
        return times_over(self.value, self.bound)


def finding(error: WeightError, bits: float) -> Finding:
    """How a tensor stands to what rounding to some bits explains.

    Args:
        error: of the tensor.
        bits: the fewest that were proved of its layer's matrices; vectors are never quantized.
    """
    row = bounds_of(bits if error.matrix else math.inf)
    found = [
        Finding(error, "weight error", error.error, row.tensor, _of_tensor(error)),
        Finding(error, "gain, less 1,", abs(error.gain - 1.0), row.gain, _of_tensor(error)),
    ]
    if error.matrix and not error.only:
        for piece, bound in ((error.row, row.row), (error.heavy_row, row.heavy_row)):
            words = f"{error.name}, row {piece.row}, is {_apart(piece.gain, piece.error)}"
            found.append(Finding(error, "error of a row", piece.error, bound, words))
        for piece, quantity, value, bound in (
            (
                error.loud_group,
                "gain of a group, less 1,",
                error.loud_group.gain - 1.0,
                row.loud_group,
            ),
            (error.turned_group, "negative gain of a group", -error.turned_group.gain, TURNED),
        ):
            place = f"{error.name}, row {piece.row}, inputs from {piece.start},"
            words = f"{place} is {_apart(piece.gain, piece.error)}"
            found.append(Finding(error, quantity, value, bound, words))
    return max(found, key=lambda one: one.times)


def held_to(error: WeightError, bound: float) -> Finding:
    """How a tensor stands to a bound of its own."""
    return Finding(error, "weight error", error.error, bound, _of_tensor(error))


def _of_tensor(error: WeightError) -> str:
    if error.only:
        return f"{error.name}: {lacking(error)}"
    return f"{error.name} is {_apart(error.gain, error.error)}"


def lacking(error: WeightError) -> str:
    """Which model lacks a tensor, in words."""
    return f"the {'parent' if error.only == 'model' else 'model'} has none"


def _apart(gain: float, error: float) -> str:
    """A factor where it explains most of an error; else the error."""
    if math.isnan(error):
        return "not finite"
    if math.isinf(error):
        return "not 0, as the parent's is"
    rest = math.sqrt(max(0.0, error**2 - (gain - 1.0) ** 2))
    if rest > abs(gain - 1.0):
        return f"off by {show(error)}"
    return f"{gain:.3g} times the parent's"
