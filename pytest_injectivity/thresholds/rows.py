"""A threshold as text: one number for every model, or a row for each precision of the model judged.

A row has the bits of the weights, their kind and the number, as in ``4 bnb-nf4 0.35``; the row
``any 0.35`` is for the models that have none of their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.thresholds.precision import Precision

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit

_ANY = "any"
_FORMS = "give a number, or rows such as '4 bnb-nf4 0.35' (bits, kind, number) and 'any 0.35'"


@dataclass(frozen=True)
class Row:
    """A threshold for the models of one precision.

    Attributes:
        precision: of these models; None: all that have no row of their own.
        value: the threshold.
    """

    precision: Precision | None
    value: float

    def __str__(self) -> str:
        return f"{_ANY if self.precision is None else self.precision} {self.value:g}"


def read_rows(text: str) -> tuple[Row, ...]:
    """The rows of a threshold.

    Args:
        text: as it stands in an ini.

    Raises:
        OptionError: a line is no row, a number is not finite, or two rows are for one precision.

    >>> [str(row) for row in read_rows("4 bnb-nf4 0.35")]
    ['4 bnb-nf4 0.35']
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    rows = tuple(_row(words, alone=len(lines) == 1) for words in lines)
    if not rows:
        raise OptionError(f"no threshold is given: {_FORMS}")
    for row in rows:
        if [one.precision for one in rows].count(row.precision) > 1:
            raise OptionError(
                f"two rows are for {row.precision or _ANY}: {_FORMS}, one a precision"
            )
    return rows


_REFUSED = math.nan


@overload
def threshold_for(audit: "Audit", name: str, text: str) -> float: ...


@overload
def threshold_for(
    audit: "Audit", name: str, text: str, *, default: float | None
) -> float | None: ...


def threshold_for(
    audit: "Audit", name: str, text: str, *, default: float | None = _REFUSED
) -> float | None:
    r"""The threshold that a model is judged by: of its precision, where there is a row for each.

    A model that has no row of its kind is judged by the first one of its bits, and else by the row
    ``any``.

    Args:
        audit: of the model that is judged.
        name: of the threshold, for errors.
        text: as it stands in an ini.
        default: returned where there is no row for this model, which is refused without it.

    Raises:
        OptionError: the text is no threshold, or it has no row for this model.
        ModelError: the model cannot be audited.

    Example:
        >>> threshold_for(audit, "gate_kept", "0.5")
        0.5
        >>> threshold_for(audit, "gate_drift", "32 float32 0.1\n4 bnb-nf4 0.3")
        0.1
        >>> threshold_for(audit, "gate_block_error", "4 bnb-nf4 0.3", default=None)
    """
    try:
        rows = read_rows(text)
        if len(rows) == 1 and rows[0].precision is None:
            return rows[0].value
        precision = Precision.of(audit.facts)
        if default is not _REFUSED and found_row(rows, precision) is None:
            return default
        return row_for(rows, precision).value
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from None


def row_for(rows: Sequence[Row], precision: Precision) -> Row:
    r"""The row that models of a precision are judged by.

    Args:
        rows: of one threshold.
        precision: of the model.

    Raises:
        OptionError: there is none.

    >>> rows = read_rows("4 bnb-nf4 0.3\n4 gguf Q4_0 0.4\nany 0.5")
    >>> [row_for(rows, Precision(*one)).value for one in ((4, "bnb-nf4"), (4, "int4"), (8, "int8"))]
    [0.3, 0.3, 0.5]
    """
    if (found := found_row(rows, precision)) is not None:
        return found
    there = ", ".join(str(row.precision) for row in rows)
    raise OptionError(
        f"no threshold for a model of {precision}: there are those for {there}; calibrate one on a"
        " trusted model of this kind (pytest-injectivity calibrate), or write the row 'any NUMBER'"
    )


def found_row(rows: Sequence[Row], precision: Precision) -> Row | None:
    """The row that models of a precision are judged by, as of `row_for`; None where there is none."""
    own = [row for row in rows if row.precision == precision]
    alike = [
        row for row in rows if row.precision and round(row.precision.bits) == round(precision.bits)
    ]
    others = [row for row in rows if row.precision is None]
    return next(iter([*own, *alike, *others]), None)


def _row(words: Sequence[str], *, alone: bool) -> Row:
    said = one_line(" ".join(words))
    try:
        value = float(words[-1])
        bits = float(words[0]) if len(words) > 1 and words[0] != _ANY else None
    except ValueError:
        raise OptionError(f"{said!r} is no threshold: {_FORMS}") from None
    if not math.isfinite(value):
        raise OptionError(f"{said!r} is no threshold: {_FORMS}, finite")
    if bits is not None and len(words) > 2:  # noqa: PLR2004 - bits, kind, number
        return Row(Precision(bits, " ".join(words[1:-1])), value)
    if words[:-1] == [_ANY] or (alone and len(words) == 1):
        return Row(None, value)
    raise OptionError(f"{said!r} is no threshold: {_FORMS}")
