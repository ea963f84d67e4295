"""The parsers of options: each turns a flag's or an ini's text into a value.

A parser also takes a value of the field's own type and returns it. It raises `OptionError` with the
value and what is accepted. Pytest reads this file on every start, so it imports the standard library
only: errors, and the classes of values that few runs give, are imported by the functions that make them.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pytest_injectivity.config.decision_rules import DecisionRule
    from pytest_injectivity.config.release_spec import ReleaseSpec
    from pytest_injectivity.config.report_target import ReportTarget
    from pytest_injectivity.errors import OptionError
    from pytest_injectivity.quantization.grid import Grid, GridLike


REPORT_KINDS = {
    "json": "everything, for programs",
    "html": "a page with figures, of the extra html",
    "markdown": "added to the file of GITHUB_STEP_SUMMARY, where it is that",
    "decision": "ship or not, by --injx-decision: JSON, and a page of Markdown beside it",
    "annotations": "GitHub's, at the lines of tests that failed",
    "terminal": "what the terminal shows",
}
"""The kinds of reports, each with what it is: the module of that name in the room reports writes it."""


def text(value: object) -> str:
    """A text that is not empty, without the space around it."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise _refused(f"{value!r} is empty: give a text")


def choice(*accepted: str) -> Callable[[object], str]:
    """One of the accepted words."""

    def parse(value: object) -> str:
        if value in accepted:
            return str(value)
        raise _refused(f"{value!r} is not accepted: give one of {', '.join(accepted)}")

    return parse


def pattern(expression: str, accepted: str) -> Callable[[object], str]:
    """A text that matches a regular expression; ``accepted`` describes the expression in words."""

    def parse(value: object) -> str:
        if isinstance(value, str) and re.fullmatch(expression, value, re.ASCII):
            return value
        raise _refused(f"{value!r} is not accepted: give {accepted}")

    return parse


def integer(smallest: int) -> Callable[[object], int]:
    """A whole number of at least ``smallest``."""

    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= smallest:
            return value
        raise _refused(f"{value!r} is not accepted: give an integer of at least {smallest}")

    return parse


def positive(value: object) -> float:
    """A number above 0, and of a size that something has."""
    given = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        given = float(value)
    if given is None or not _LEAST <= given <= 1 / _LEAST:
        raise _refused(f"{value!r} is not accepted: give a number above 0, such as 0.1 or 400")
    return float(given)


_LEAST = 1e-9
_NUMBER = re.compile(r"\s*\d{1,15}(?:\.\d{1,9})?(?:e[+-]?\d{1,2})?\s*", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{unit}": base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in (("b", 1000), ("ib", 1024))
}


def size(value: object) -> int:
    """Bytes: ``500MB``, ``2GiB``, ``1.5 TB``, or a number of them."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    read = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)\s*", str(value).lower(), re.ASCII)
    if isinstance(value, str) and read and read[2] in _UNITS:
        given = int(float(read[1]) * _UNITS[read[2]])
        if given > 0:
            return given
    raise _refused(f"{value!r} is not a size: give one above 0 such as 500MB, 2GiB or 1.5TB")


def workers(value: object) -> int | str:
    """A number of workers on this machine, or the address of a cluster."""
    if isinstance(value, str) and re.fullmatch(r"ray://[^\s/]+:\d{1,5}", value.strip(), re.ASCII):
        return value.strip()
    try:
        return integer(1)(value)
    except ValueError:
        raise _refused(
            f"{value!r} is not accepted: give a number of workers from 1 on, or the address of a cluster"
            " of Ray, ray://HOST:PORT"
        ) from None


def quantization(value: object) -> str:
    """What a checkpoint is quantized to while it is loaded."""
    from pytest_injectivity.quantization.while_loading import WHILE_LOADING

    return choice(*WHILE_LOADING)(value)


def grid(value: object) -> "Grid":
    """The grid that activations are rounded to."""
    from pytest_injectivity.quantization.grid import Grid

    return Grid.parse(cast("GridLike", value))  # it refuses everything else


def reports(value: object) -> tuple["ReportTarget", ...]:
    """Reports to write, one or several."""
    if isinstance(value, (list, tuple)):
        every = tuple(target for item in value for target in reports(item))
        _check_apart(every)
        return every
    from pytest_injectivity.config.report_target import ReportTarget

    if isinstance(value, ReportTarget):
        return (value,)
    kind, colon, path = str(value).partition(":")
    if kind in REPORT_KINDS and colon and path:
        return (ReportTarget(kind, path),)
    kinds = " or ".join(f"{kind}:PATH" for kind in REPORT_KINDS)
    raise _refused(f"{value!r} is not a report: give {kinds}")


def _check_apart(every: Sequence["ReportTarget"]) -> None:
    """Refuse two reports that write one file, of which the first would be lost."""
    written: dict[Path, ReportTarget] = {}
    for target in every:
        for file in target.files:
            if written.setdefault(file, target) != target:
                raise _refused(f"{written[file]} and {target} both write {file}: give two paths")


def decision(value: object) -> tuple["DecisionRule", ...]:
    """Rules of a decision, as a text or parsed already."""
    from pytest_injectivity.config.decision_rules import DecisionRule, parse_rules

    if isinstance(value, (list, tuple)) and all(isinstance(one, DecisionRule) for one in value):
        return tuple(value)
    return parse_rules(text(value))


def releases(value: object) -> tuple["ReleaseSpec", ...]:
    """Releases, one or several, as texts or parsed already."""
    if isinstance(value, (list, tuple)):
        return tuple(one for item in value for one in releases(item))
    from pytest_injectivity.config.release_spec import ReleaseSpec, parse

    return (value if isinstance(value, ReleaseSpec) else parse(value),)


def _refused(message: str) -> "OptionError":
    """The error of a value that is not accepted."""
    from pytest_injectivity.errors import OptionError

    return OptionError(message)
