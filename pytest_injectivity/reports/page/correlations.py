"""Figures of what margins go along with over the blocks of a model ([N] appendix E.5)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_injectivity.core.ranks import spearman
from pytest_injectivity.reports.page.charts import Dot, Point, Scatter, is_finite, short_label
from pytest_injectivity.reports.page.layers import Model, names_of_layers, titled

_FEWEST_DRAWN = 5
_FEWEST = 10  # blocks of a correlation
_MARGIN = "normalized_margin"
_DEPENDENT = (
    " Blocks of one model are no independent points, as each goes on from the one before: no interval"
    " is given."
)
_DRAWN = (
    ("anisotropy", "Margin and anisotropy", "mean cosine of two states"),
    ("intrinsic_dimension", "Margin and intrinsic dimension", "intrinsic dimension"),
)


@dataclass(frozen=True)
class _Block:
    """A block of a model, with the two numbers that are compared."""

    name: str
    number: int
    value: float
    margin: float


def correlation_figures(every: Sequence[Model]) -> tuple[Scatter, ...]:
    """For each model of five measured blocks or more the margin against both numbers.

    The final norm is no block: it changes the norm that margins are divided by.
    """
    return tuple(
        _chart(one, every, metric, title, across)
        for one in every
        for metric, title, across in _DRAWN
        if len(_blocks(one, metric)) >= _FEWEST_DRAWN
    )


def _blocks(one: Model, metric: str) -> list[_Block]:
    """The blocks at which both numbers were measured, shallow first."""
    found = []
    for name in names_of_layers(one.plain):
        number, layer = short_label(name), one.plain[name]
        value, margin = layer[metric], layer[_MARGIN]
        if number.isdigit() and int(number) and value is not None and margin is not None:
            found.append(_Block(name, int(number), value, margin))
    return [own for own in found if is_finite(own.value) and is_finite(own.margin)]


def _chart(one: Model, every: Sequence[Model], metric: str, title: str, across: str) -> Scatter:
    blocks = _blocks(one, metric)
    dots = tuple(
        Dot(own.name, Point(own.value), Point(own.margin), number=own.number) for own in blocks
    )
    caption = (
        f"The least distance of two prompts over the mean norm, a point a block. {_said(blocks)}"
    )
    return Scatter(
        titled(title, one, every),
        caption,
        across,
        "margin over mean norm",
        dots,
        of="layer",
        course=True,
    )


def _said(blocks: Sequence[_Block]) -> str:
    """The correlation, and that of depth, which both may follow."""
    if len(blocks) < _FEWEST:
        return f"Too few blocks for a rank correlation: {len(blocks)}, and {_FEWEST} are needed."
    margins = [own.margin for own in blocks]
    found = spearman([own.value for own in blocks], margins)
    if math.isnan(found):
        return "One of the two is the same at every block: they have no rank correlation."
    depth = spearman([own.number for own in blocks], margins)
    return (
        f"Spearman's rank correlation is {found:+.2f} over {len(blocks)} blocks; that of the margin with"
        f" depth alone is {depth:+.2f}.{_DEPENDENT}"
    )
