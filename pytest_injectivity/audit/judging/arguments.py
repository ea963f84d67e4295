"""Readers of the arguments that checks share: each returns the value or refuses it with an error.

A threshold that a test is judged by has no default, and a threshold that every model passes is refused:
every margin is at least 0, so ``margin=0.0`` would pass a model whose states are all equal. Every
refusal is an `OptionError`, which is wrong use of pytest (exit status 4).
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.errors import OptionError


class _Required:
    """The type of `REQUIRED`, the placeholder default of an argument that has to be given."""

    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Any = _Required()
"""Marks a threshold as required; Python demands a default, because ``layer`` before it has one."""


def optional_count(name: str, given: int | None) -> int | None:
    """Read a number of things that may be none, or None.

    Raises:
        OptionError: it is no integer of at least 0.
    """
    return None if given is None else count(name, given, least=0)


def at_least(name: str, given: PerLayer[float]) -> PerLayer[float]:
    """Read the lower bound of a quantity that is never negative.

    Args:
        name: the argument's name, for errors.
        given: one finite number above 0, or one by layer.

    Raises:
        OptionError: it is not given, or one is 0, negative, infinite, NaN or no number.
    """
    _check_given(name, given, "a finite number above 0")
    if isinstance(given, Mapping):
        return {spec: _above_zero(name, one) for spec, one in given.items()}
    return _above_zero(name, given)


def at_most(name: str, given: PerLayer[float]) -> PerLayer[float]:
    """Read an upper bound: finite and at least 0, one for all layers or one by layer.

    Raises:
        OptionError: it is not given, or one is negative, infinite, NaN or no number.
    """
    _check_given(name, given, "a finite number of at least 0")
    if isinstance(given, Mapping):
        return {spec: _finite(name, one) for spec, one in given.items()}
    return _finite(name, given)


def factor(name: str, given: PerLayer[float]) -> PerLayer[float]:
    """Read the factor by which something may change, one for all layers or one by layer.

    Raises:
        OptionError: it is not given, or one is below 1, infinite, NaN or no number.
    """
    _check_given(name, given, "a finite number of at least 1")
    if isinstance(given, Mapping):
        return {spec: _at_least_one(name, one) for spec, one in given.items()}
    return _at_least_one(name, given)


def number_at_most(name: str, given: object) -> float:
    """Read an upper bound that is one number, finite and at least 0.

    Raises:
        OptionError: it is negative, infinite, NaN or no number.
    """
    return _finite(name, given)


def share_at_least(name: str, given: float) -> float:
    """Read the least share accepted: above 0, which every share reaches, and at most 1.

    Raises:
        OptionError: it is not given or not such a number.
    """
    _check_given(name, given, "a share above 0, at most 1")
    share = fraction(name, given)
    if share == 0.0:
        raise OptionError(f"{name}={given!r} passes whatever is measured: give a share above 0")
    return share


def share_at_most(name: str, given: float | None) -> float:
    """Read the largest share accepted: at least 0, and below 1, which no share exceeds.

    Raises:
        OptionError: it is not given or not such a number.
    """
    _check_given(name, given, "a share of at least 0, below 1")
    share = fraction(name, given)
    if share == 1.0:
        raise OptionError(f"{name}={given!r} passes whatever is measured: give a share below 1")
    return share


def fraction(name: str, given: object) -> float:
    """Read a number from 0 to 1.

    Raises:
        OptionError: it is no such number; NaN is none.
    """
    number = _number(given)
    if not 0.0 <= number <= 1.0:
        raise OptionError(f"{name}={given!r} is not a fraction: give a number from 0 to 1")
    return number


def optional_confidence(given: float | None) -> float | None:
    """Read a confidence level; None means that point values are judged.

    Raises:
        OptionError: it does not lie between 0 and 1.
    """
    if given is None:
        return None
    number = _number(given)
    if not 0.0 < number < 1.0:
        raise OptionError(f"confidence={given!r}: give a number between 0 and 1, such as 0.95")
    return number


def count(name: str, given: object, least: int = 1) -> int:
    """Read a count.

    Raises:
        OptionError: it is no integer, or fewer than ``least``.
    """
    if isinstance(given, bool) or not isinstance(given, Integral) or int(given) < least:
        raise OptionError(f"{name}={given!r}: give an integer of at least {least}")
    return int(given)


def flag(name: str, given: object) -> bool:
    """Read a yes or no.

    Raises:
        OptionError: it is neither True nor False.
    """
    if not isinstance(given, bool):
        raise OptionError(f"{name}={given!r}: give True or False")
    return given


def tolerances(eps: PerLayer[float | str]) -> PerLayer[Tolerance]:
    """Read ``eps``, one for all layers or one by layer.

    Raises:
        OptionError: one is not accepted.
    """
    if isinstance(eps, Mapping):
        return {spec: Tolerance.parse(one) for spec, one in eps.items()}
    return Tolerance.parse(eps)


def _check_given(name: str, given: object, accepted: str) -> None:
    if given is REQUIRED or given is None:
        raise OptionError(
            f"{name} is not given, and the check is judged by it: it has no default; give {accepted}"
        )


def _above_zero(name: str, given: object) -> float:
    bound = _number(given)
    if not 0.0 <= bound < math.inf:
        raise OptionError(f"{name}={given!r} is not a bound: give a finite number above 0")
    if bound == 0.0:
        raise OptionError(f"{name}={given!r} passes whatever is measured: give a number above 0")
    return bound


def _at_least_one(name: str, given: object) -> float:
    number = _number(given)
    if not 1.0 <= number < math.inf:
        raise OptionError(f"{name}={given!r} is not a factor: give a finite number of at least 1")
    return number


def _finite(name: str, given: object) -> float:
    number = _number(given)
    if not 0.0 <= number < math.inf:
        raise OptionError(f"{name}={given!r} is not a bound: give a finite number of at least 0")
    return number


def _number(given: object) -> float:
    """The value as a float: NaN for what is no number, infinite for an integer beyond all floats."""
    if isinstance(given, bool) or not isinstance(given, Real):
        return math.nan
    try:
        return float(given)
    except OverflowError:
        return math.inf
