"""Pictures that matplotlib draws (the extra ``plots``), as SVG texts.

The same numbers give the same bytes: the style is fixed, ids come from a fixed salt, no date is written,
and texts stay texts, so that no font of this machine is in the file.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_injectivity.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by people who confuse red and green (Okabe and Ito).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "pytest-injectivity",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.usetex": False,
    "text.parse_math": False,  # a "$" in a name is a "$"
}


def color(at: int) -> str:
    """The color of a line by its number; the seventh from one on is that one's again."""
    return _COLORS[at % len(_COLORS)]


def svg(draw: "Callable[[], Figure]", what: str) -> str:
    """A picture as SVG text.

    Args:
        draw: draws it.
        what: is drawn, for the error.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingExtra(
            f"pictures of {what} need matplotlib: install pytest-injectivity[plots]"
        ) from None
    written = io.StringIO()
    with mpl.rc_context(_STYLE):
        draw().savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
