"""An audit in a notebook: what was measured of it as tables and figures that show themselves."""

from typing import TYPE_CHECKING

from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.run_results import ModelResults

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.reports.notebook import Shown, ShownFigure
    from pytest_injectivity.reports.table import Table

_CONFIDENCE = 0.95


def tables(audit: "Audit") -> "Shown[Table]":
    """The tables of an audit: its layers, and what was rounded, compared or released so far.

    Args:
        audit: its layers are measured where they were not.

    Example:
        >>> layers = tables(audit)[0]
        >>> [column.title for column in layers.columns][:4]
        ['layer', 'norm', 'coll.', 'resol.']
        >>> layers._repr_html_().startswith("<div><table>")
        True
    """
    from pytest_injectivity.reports.layer_table import tables as tables_of
    from pytest_injectivity.reports.notebook import Shown

    return Shown(tuple(tables_of(_measured(audit))))


def figures(audit: "Audit") -> "Shown[ShownFigure]":
    """The figures of an audit, those of the HTML page: its layers, and what was compared so far.

    Args:
        audit: its layers are measured where they were not.

    Example:
        >>> drawn = figures(audit)
        >>> len(drawn) > 3 and "<svg" in drawn[0]._repr_html_()
        True
    """
    from pytest_injectivity.reports.notebook import Shown, ShownFigure
    from pytest_injectivity.reports.page.layers import layer_figures, models
    from pytest_injectivity.reports.page.parents import parent_figures

    every = models([("", _measured(audit))])
    drawn = (*layer_figures(every, audit.verdicts), *parent_figures(every))
    return Shown(tuple(map(ShownFigure, drawn)))


def _measured(audit: "Audit") -> ModelResults:
    for layer in audit.layers:
        audit.layer_summary(layer)
    layers = (audit.layer_summary(*one) for one in audit.measurements.measured)
    return ModelResults(
        run=audit.run_summary(),
        layers=tuple(sorted(layers, key=lambda one: label_depth(one.layer))),
        comparisons=tuple(map(audit.comparison, audit.compared)),
        releases=tuple(one.summary(_CONFIDENCE) for one in audit.releases.exposed),
    )
