"""What templates are rendered with: every text is escaped and loses its control characters."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import MissingExtra

if TYPE_CHECKING:
    from jinja2 import Environment

_LONGEST = 4000  # characters of a text


def check_jinja(asked: str) -> None:
    """Refuse what would need a page.

    Args:
        asked: what asked for it.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtra(f"{asked} needs jinja2: install pytest-injectivity[html]") from None


@cache
def environment() -> "Environment":
    """The environment of all pages: made once, because it compiles its templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import escape

    from pytest_injectivity.reports.page.shapes import picture

    made = Environment(
        loader=PackageLoader("pytest_injectivity.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless(),
    )
    made.filters["picture"] = picture
    # A path has as many characters as its figure has points: it is no text that somebody gave.
    made.filters["whole"] = escape
    return made


def _harmless() -> Callable[[object], object]:
    """What is done to every value before it is escaped: texts lose their control characters."""
    from markupsafe import Markup

    def harmless(value: object) -> object:
        # Markup is what a macro made of texts that went through here.
        if isinstance(value, Markup) or not isinstance(value, str):
            return value
        return one_line(value, _LONGEST)

    return harmless
