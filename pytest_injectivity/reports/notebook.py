"""Tables and figures that show themselves in a notebook.

The figures are those of the HTML page, with its style sheet; they need no jinja2 and run no script.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Protocol, TypeVar

from pytest_injectivity.core.html import element, words
from pytest_injectivity.reports.page.charts import Figure
from pytest_injectivity.reports.page.shapes import Picture, Shape, picture
from pytest_injectivity.reports.table import Table

_CLASS = "injectivity-figure"
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")


class Showable(Protocol):
    """A `Table`, a `ShownFigure`, or any other thing that a notebook shows."""

    def _repr_html_(self) -> str: ...


S = TypeVar("S", bound=Showable)


@dataclass(frozen=True)
class ShownFigure:
    """A figure of the page.

    Attributes:
        figure: its title, its caption and its numbers.
    """

    figure: Figure

    @property
    def title(self) -> str:
        """Its heading."""
        return self.figure.title

    @property
    def table(self) -> Table:
        """The same numbers as a table."""
        return self.figure.table

    def _repr_html_(self) -> str:
        """The figure in a notebook, its numbers folded below it."""
        drawing = picture(self.figure)
        legend = "".join(
            element("li", element("svg", _stroke(look), viewBox="0 0 22 8"), words(name))
            for look, name in drawing.legend
        )
        numbers = element("summary", "Numbers of this figure") + self.table._repr_html_()
        return element(
            "figure",
            element("style", _style()),
            element("h4", words(self.title)),
            element("ul", legend, class_="legend") if legend else "",
            _svg(drawing, self.title),
            element("figcaption", words(self.figure.caption)),
            element("details", numbers),
            class_=_CLASS,
        )


class Shown(tuple[S, ...]):
    """Several things below each other."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """All of them in a notebook."""
        return "".join(one._repr_html_() for one in self)


def _svg(drawing: Picture, title: str) -> str:
    box = f"0 0 {drawing.width} {drawing.height}"
    label = {"role": "img", "aria_label": title}
    return element("svg", *map(_shape, drawing.shapes), viewBox=box, **label)


def _shape(shape: Shape) -> str:
    given = "".join(f' {name}="{words(value)}"' for name, value in shape.attributes)
    return f"<{shape.tag}{given}>{words(shape.text)}</{shape.tag}>"


def _stroke(look: str) -> str:
    kind = "bars" if look.startswith("box") else "line"
    return element("path", d="M0 4H22", class_=f"{kind} {look}")


@cache
def _style() -> str:
    """The rules of the page's style sheet for figures, of this class alone.

    A notebook is light or dark by a setting of its own, which no style sheet can ask: the figure has the
    light colors, on a ground of its own.
    """
    sheet = (files("pytest_injectivity.reports.page") / "templates" / "style.css").read_text(
        "utf-8"
    )
    (colors,) = re.findall(r"\A:root \{([^}]*)\}", sheet)
    rules = sheet.partition("/* Figures. */")[2].partition("/* Tables")[0]
    scoped = [f".{_CLASS} {{{colors}background: var(--page); padding: .5rem; }}"]
    for selectors, body in _RULE.findall(rules):
        own = (f".{_CLASS} {one.strip().removeprefix('figure ')}" for one in selectors.split(","))
        scoped.append(f"{', '.join(own)} {{{body}}}")
    return " ".join(" ".join(scoped).split())
