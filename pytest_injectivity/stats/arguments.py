"""Checks of the fractions and confidence levels that statistics are asked for."""

from pytest_injectivity.errors import OptionError


def check_fraction(name: str, value: float) -> None:
    """Refuse what is not in [0, 1], NaN too.

    Args:
        name: the argument's name, for the message.
        value: the number given.

    Raises:
        OptionError: it is no fraction.

    Example:
        >>> check_fraction("q", 0.01)
    """
    if not 0.0 <= value <= 1.0:
        raise OptionError(f"{name}={value!r} is not a fraction: give a number from 0 to 1")


def check_confidence(confidence: float) -> None:
    """Refuse what is not strictly between 0 and 1, NaN too.

    Args:
        confidence: the number given.

    Raises:
        OptionError: it is no confidence level.

    Example:
        >>> check_confidence(0.95)
    """
    if not 0.0 < confidence < 1.0:
        raise OptionError(f"confidence={confidence!r}: give a number between 0 and 1, such as 0.95")
