"""Figures of several models, one beside the other: of checkpoints of a training its trajectory."""

from collections.abc import Sequence

from pytest_injectivity.reports.page.charts import Figure, LineChart, Point, Series, drawn
from pytest_injectivity.reports.page.layers import Model, names_of_layers

_FEWEST = 3  # models of a line
_DRAWN = (
    ("normalized_margin_q", "Margin over mean norm, by model"),
    ("normalized_colipschitz_q", "Co-Lipschitz constant over mean norm, by model"),
)


def model_figures(every: Sequence[Model]) -> tuple[Figure, ...]:
    """Numbers of each model's last layer and of its narrowest ([VS] figure 3 in kind)."""
    if len(every) < _FEWEST:
        return ()
    return drawn([_by_model(metric, title, every) for metric, title in _DRAWN])


def _by_model(metric: str, title: str, every: Sequence[Model]) -> LineChart | None:
    last, least = list[Point](), list[Point]()
    for one in every:
        layers = names_of_layers(one.plain)
        values = [one.plain[name][metric] for name in layers]
        last.append(Point(values[-1] if values else None))
        least.append(Point(min((value for value in values if value is not None), default=None)))
    series = (
        Series("last layer", tuple(last), "s0"),
        Series("least of all layers", tuple(least), "s1"),
    )
    shown = tuple(line for line in series if line.measured)
    if not shown:
        return None
    caption = "The 1 % quantile of each model, in the order of the run."
    return LineChart(title, caption, "model", tuple(one.name for one in every), shown)
