"""Durations and sizes in words, as people read them."""

_MINUTE, _HOUR = 60, 3600
_BIG = 10


def duration(seconds: float) -> str:
    """A duration in words, to two units at most.

    Args:
        seconds: at least 0.

    Example:
        >>> duration(0.04), duration(42.3), duration(95), duration(7500)
        ('0.04 s', '42 s', '1 min 35 s', '2 h 5 min')
    """
    if seconds < _BIG:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _joined(whole // _MINUTE, "min", whole % _MINUTE, "s")
    minutes = round(seconds / _MINUTE)
    return _joined(minutes // _MINUTE, "h", minutes % _MINUTE, "min")


def size(count: float) -> str:
    """A number of bytes in words, in powers of 1,000.

    Args:
        count: bytes, at least 0.

    Example:
        >>> size(640), size(71_424_000)
        ('640 B', '71.4 MB')
    """
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if count < 1000:  # noqa: PLR2004 - the step between two units
            break
        count, unit = count / 1000, larger
    return f"{count:.3g} {unit}"


def _joined(first: int, unit: str, second: int, smaller: str) -> str:
    return f"{first} {unit} {second} {smaller}" if second else f"{first} {unit}"
