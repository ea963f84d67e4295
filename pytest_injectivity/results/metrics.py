"""The table of metrics: every number that is measured of a layer, once.

The JSON report, the terminal's and the Markdown report's tables, ``compare``, the sweeps and the
baselines all go through `METRICS`. A new metric is one row here, whose `Metric.read` computes it from
the layer's geometry; nothing else names metrics one by one. Importing this file loads no torch: the
geometry that ``read`` is given was made elsewhere.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pytest_injectivity.core.numbers import show
from pytest_injectivity.errors import OptionError

Number: TypeAlias = float | Mapping[str, float] | None
"""What is measured: a number, a number for each rung of a ladder, or None where there is none."""

Better: TypeAlias = Literal["more", "less", "neither"]
"""The direction in which a metric is better; of a norm any change is one to look at."""

SPREAD = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""The quantiles of the distances to the nearest prompt that are reported of every layer."""

_DIGITS = 3


@dataclass(frozen=True)
class MeasuredLayer:
    """A layer that metrics are read of.

    Attributes:
        geometry: the `LayerGeometry` of its finite rows; None where there are fewer than two, which
            have no pair.
        not_finite: rows with a NaN or an infinity.
        resolution: the layer's resolution; None where there is none (rounded states).
        error: its distance to true float64; None where it was not measured.
    """

    geometry: Any
    not_finite: int
    resolution: float | None
    error: float | None = None


def short(value: float) -> str:
    """A number as a cell of a table shows it: counts whole, others to three digits."""
    return str(value) if isinstance(value, int) else show(value, _DIGITS)


@dataclass(frozen=True)
class Metric:
    """A number of a layer.

    Attributes:
        name: its key in JSON, baselines and tolerances.
        title: its heading in a table.
        meaning: what it is, in a few words for a legend.
        unit: what it is counted in.
        better: the direction that is better.
        tolerance: the share of a recorded number that it may get worse by, unless told otherwise; 0
            for a count; None for a number that is not recorded: it follows from others, or no change
            of it is for the worse.
        read: computes it from a measured layer.
        show: how a cell of a table shows it.
        tabled: whether the table of layers has a column of it.
        marked: whether the worst layer of its column is marked.
        rungs: whether it has a number for each rung of a ladder, ``near_fractions 0.01``.
    """

    name: str
    title: str
    meaning: str
    unit: str
    better: Better
    tolerance: float | None
    read: Callable[[MeasuredLayer], Number]
    show: Callable[[float], str] = short
    tabled: bool = True
    marked: bool = False
    rungs: bool = False

    @property
    def counted(self) -> bool:
        """Whether it is a count."""
        return self.tolerance == 0.0


def _of_geometry(read: Callable[[Any], Number]) -> Callable[[MeasuredLayer], Number]:
    """Reads a number that needs two rows: None where the layer has no pair."""
    return lambda layer: None if layer.geometry is None else read(layer.geometry)


def _colipschitz(q: float) -> Callable[[MeasuredLayer], Number]:
    def read(geometry: Any) -> Number:
        # A quantile of one row says nothing.
        comparable = geometry.colipschitz_rows.partnered.sum() > 1
        return float(geometry.colipschitz(q=q)) if comparable else None

    return _of_geometry(read)


def _over_norm(read: Callable[[MeasuredLayer], Number]) -> Callable[[MeasuredLayer], Number]:
    """Reads a number in units of the mean norm: None where the norm is 0."""

    def normalized(layer: MeasuredLayer) -> Number:
        value = read(layer)
        if not isinstance(value, float) or not layer.geometry.mean_norm:
            return None
        return float(value / layer.geometry.mean_norm)

    return normalized


def _near_fractions(geometry: Any) -> Number:
    return {f"{eps:g}": share for eps, share in geometry.near_fractions().items()}


def _nearest(layer: MeasuredLayer) -> Number:
    """How the distances to the nearest prompt are spread; None of rounded states (no resolution)."""
    if layer.geometry is None or layer.resolution is None:
        return None
    return {f"{q:g}": float(layer.geometry.margin(q=q)) for q in SPREAD}


def _nearest_counts(layer: MeasuredLayer) -> Number:
    """A histogram of the distances to the nearest prompt; None of rounded states."""
    if layer.geometry is None or layer.resolution is None:
        return None
    return {f"{edge:.3g}": count for edge, count in layer.geometry.nearest_counts().items()}


def _of_states(read: Callable[[Any], float]) -> Callable[[MeasuredLayer], Number]:
    """Reads a number of how the states lie; None of rounded ones, and where it is not defined."""

    def known(layer: MeasuredLayer) -> Number:
        if layer.geometry is None or layer.resolution is None:
            return None
        value = read(layer.geometry)
        return None if math.isnan(value) else value

    return known


_MARGIN = _of_geometry(lambda geometry: float(geometry.margin(q=0.0)))
_MARGIN_Q = _of_geometry(lambda geometry: float(geometry.margin(q=0.01)))
_DISTANCE, _RATIO, _NORMS = "distance of states", "distance of states / of prompts", "mean norms"

# Minima are those of one pair, quantiles of the 1 % of rows; a resolution is the largest distance
# among a few prompts, and another machine's may be half or twice as large.
METRICS: tuple[Metric, ...] = (
    Metric(
        name="not_finite",
        title="lost",
        meaning="rows not finite",
        unit="rows",
        better="less",
        tolerance=0.0,
        read=lambda layer: layer.not_finite,
        tabled=False,  # said beside the layer's name
    ),
    Metric(
        name="mean_norm",
        title="norm",
        meaning="mean norm",
        unit=_DISTANCE,
        better="neither",
        tolerance=0.01,
        read=_of_geometry(lambda geometry: geometry.mean_norm),
    ),
    Metric(
        name="median_norm",
        title="median",
        meaning="median norm",
        unit=_DISTANCE,
        better="neither",
        tolerance=0.01,
        read=_of_geometry(lambda geometry: geometry.median_norm),
        tabled=False,
    ),
    Metric(
        name="collisions",
        title="coll.",
        meaning="colliding pairs",
        unit="pairs",
        better="less",
        tolerance=0.0,
        read=_of_geometry(lambda geometry: geometry.equal.pairs),
        marked=True,
    ),
    Metric(
        name="resolution",
        title="resol.",
        meaning="resolution",
        unit=_DISTANCE,
        better="less",
        tolerance=1.0,
        read=lambda layer: None if layer.geometry is None else layer.resolution,
    ),
    Metric(
        name="error",
        title="error",
        meaning="distance to float64",
        unit=_DISTANCE,
        better="less",
        tolerance=1.0,
        read=lambda layer: None if layer.geometry is None else layer.error,
        tabled=False,  # a table of 80 columns has no room for it
    ),
    Metric(
        name="margin",
        title="margin",
        meaning="separation margin, minimum",
        unit=_DISTANCE,
        better="more",
        tolerance=0.05,
        read=_MARGIN,
    ),
    Metric(
        name="margin_q",
        title="m 1%",
        meaning="its 1 % quantile",
        unit=_DISTANCE,
        better="more",
        tolerance=0.01,
        read=_MARGIN_Q,
    ),
    Metric(
        name="nearest",
        title="nearest",
        meaning="distance to the nearest prompt, by quantile",
        unit=_DISTANCE,
        better="more",
        tolerance=None,
        read=_nearest,
        tabled=False,
        rungs=True,
    ),
    Metric(
        name="nearest_counts",
        title="nearest, counted",
        meaning="prompts by the distance to the nearest one, from so many tenths of a decade on",
        unit="prompts",
        better="neither",
        tolerance=None,
        read=_nearest_counts,
        tabled=False,
        rungs=True,
    ),
    Metric(
        name="normalized_margin",
        title="margin/norm",
        meaning="the minimum over the mean norm",
        unit=_NORMS,
        better="more",
        tolerance=None,
        read=_over_norm(_MARGIN),
        tabled=False,
    ),
    Metric(
        name="normalized_margin_q",
        title="m/norm",
        meaning="the quantile over the mean norm",
        unit=_NORMS,
        better="more",
        tolerance=None,
        read=_over_norm(_MARGIN_Q),
        marked=True,
    ),
    Metric(
        name="colipschitz",
        title="α",
        meaning="co-Lipschitz constant, minimum",
        unit=_RATIO,
        better="more",
        tolerance=0.05,
        read=_colipschitz(0.0),
        tabled=False,
    ),
    Metric(
        name="colipschitz_q",
        title="α 1%",
        meaning="co-Lipschitz constant, 1 % quantile",
        unit=_RATIO,
        better="more",
        tolerance=0.01,
        read=_colipschitz(0.01),
    ),
    Metric(
        name="normalized_colipschitz",
        title="α min/norm",
        meaning="the minimum over the mean norm",
        unit=_NORMS,
        better="more",
        tolerance=None,
        read=_over_norm(_colipschitz(0.0)),
        tabled=False,
    ),
    Metric(
        name="normalized_colipschitz_q",
        title="α/norm",
        meaning="the quantile over the mean norm",
        unit=_NORMS,
        better="more",
        tolerance=None,
        read=_over_norm(_colipschitz(0.01)),
        marked=True,
    ),
    Metric(
        name="near_fractions",
        title="near",
        meaning="share of pairs within a distance",
        unit="share of pairs",
        better="less",
        tolerance=0.01,
        read=_of_geometry(_near_fractions),
        tabled=False,
        rungs=True,
    ),
    Metric(
        name="anisotropy",
        title="anisotropy",
        meaning="mean cosine of two states",
        unit="cosine",
        better="neither",
        tolerance=None,
        read=_of_states(lambda geometry: float(geometry.anisotropy)),
        tabled=False,  # as the error
    ),
    Metric(
        name="intrinsic_dimension",
        title="dimension",
        meaning="intrinsic dimension (TwoNN)",
        unit="dimensions",
        better="neither",
        tolerance=None,
        read=_of_states(lambda geometry: float(geometry.dimension)),
        tabled=False,
    ),
)


def recorded() -> tuple[Metric, ...]:
    """The metrics that baselines keep and that are compared with a recorded number."""
    return tuple(metric for metric in METRICS if metric.tolerance is not None)


def tabled() -> tuple[Metric, ...]:
    """The metrics that the table of layers has a column of."""
    return tuple(metric for metric in METRICS if metric.tabled)


def legend(metrics: Iterable[Metric]) -> str:
    """What the titles of metrics mean, as one line."""
    return "; ".join(f"{metric.title}: {metric.meaning}" for metric in metrics)


def metric_of(number: str) -> Metric:
    """The metric that a number is of: ``near_fractions 0.01`` is one of ``near_fractions``.

    Raises:
        OptionError: no metric has this name, or the number has a rung and its metric has none.
    """
    name, gap, rung = number.partition(" ")
    for metric in METRICS:
        if metric.name == name and metric.rungs == bool(gap and rung):
            return metric
    raise OptionError(f"{number!r} is no number of a layer: {', '.join(by_name())} are")


def title_of(number: str) -> str:
    """The heading of a number's column, with its rung."""
    return f"{metric_of(number).title} {number.partition(' ')[2]}".rstrip()


def by_metric(number: str) -> tuple[int, float]:
    """Sorts numbers as `METRICS` has them, those of a ladder from wide to narrow."""
    return METRICS.index(metric_of(number)), -float(number.partition(" ")[2] or 0.0)


def measure(layer: MeasuredLayer) -> dict[str, Number]:
    """Every metric of a layer, by name."""
    return {metric.name: metric.read(layer) for metric in METRICS}


def by_name() -> dict[str, Metric]:
    """Every metric, by its name."""
    return {metric.name: metric for metric in METRICS}
