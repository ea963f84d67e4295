"""Figures of models against their parents: what is kept, how far states drift, where blocks err."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_injectivity.reports.page.charts import Figure, LineChart, Point, Series, drawn
from pytest_injectivity.reports.page.layers import Model, names_of_layers
from pytest_injectivity.results.summary import Comparison, Estimate, NextToken


@dataclass(frozen=True)
class _Drawn:
    """A number of comparisons that has a figure.

    Attributes:
        title, caption: of the figure.
        point: the number of a layer, with its interval where there is one.
        base: the parent's number, which has a line; None: it has none.
        behind: a lighter line beside it, with its name, where there is one model.
        among: what its own line is called beside those.
    """

    title: str
    caption: str
    point: Callable[[Comparison], Point]
    base: float | None = None
    behind: tuple[tuple[str, Callable[[Comparison], Point]], ...] = ()
    among: str = ""


def _estimate(found: Estimate | None) -> Point:
    return Point(None) if found is None else Point(found.value, found.low, found.high)


_FEWEST = 2  # positions of a line
_KEPT = "1 is the parent's; bars: intervals at 95 %, prompts paired."
_DRAWN = (
    _Drawn("Margin kept", _KEPT, lambda one: _estimate(one.margin), 1.0),
    _Drawn("Co-Lipschitz constant kept", _KEPT, lambda one: _estimate(one.colipschitz), 1.0),
    _Drawn(
        "Drift of states",
        "Distance from the parent's state over its norm, of 99 % of the prompts.",
        lambda one: Point(one.drift_q99),
        None,
        (
            ("largest", lambda one: Point(one.drift_max)),
            ("median", lambda one: Point(one.drift_median)),
        ),
        among="99 %",
    ),
    _Drawn(
        "Block error",
        "What a block makes of the parent's states, over what the parent's block adds to them.",
        lambda one: Point(one.block_error),
    ),
    _Drawn(
        "Weight error",
        "The largest of a layer's tensors: distance from the parent's weights over their norm.",
        lambda one: Point(one.weight_error),
    ),
    _Drawn(
        "SipIt",
        "Share of prompts recovered from the states.",
        lambda one: _estimate(one.sipit),
        None,
        (("parent", lambda one: _estimate(one.reference_sipit)),),
    ),
    _Drawn(
        "Read by the parent",
        "Share of tokens that the parent's weights read from the model's states, nearest candidate.",
        lambda one: Point(None) if one.cross is None else _estimate(one.cross.argmin_tokens),
    ),
)


def parent_figures(every: Sequence[Model]) -> tuple[Figure, ...]:
    """A figure for each number that was compared, then the next tokens."""
    return drawn(
        [
            *(_line_chart(one, every) for one in _DRAWN),
            _divergences(every),
            _by_position(every),
            _by_layer(every),
            _agreement(every),
        ]
    )


def _line_chart(drawn_: _Drawn, every: Sequence[Model]) -> LineChart | None:
    labels = names_of_layers(name for one in every for name in one.compared)
    behind = drawn_.behind if len(every) == 1 else ()
    series = []
    for one in every:
        series.append(
            _series(drawn_.among if behind else one.name, one, labels, drawn_.point, one.look)
        )
        series += [_series(name, one, labels, point, "light") for name, point in behind]
    shown = [one for one in series if one.measured]
    if not shown:
        return None
    base = drawn_.base
    if base is not None:
        shown.insert(0, Series("parent", tuple(Point(base) for _ in labels), "bound"))
    return LineChart(
        drawn_.title, drawn_.caption, "layer", labels, tuple(shown), 0.0 if base is None else base
    )


def _series(
    name: str, one: Model, labels: Sequence[str], point: Callable[[Comparison], Point], look: str
) -> Series:
    compared = one.compared
    points = tuple(point(compared[label]) if label in compared else Point(None) for label in labels)
    return Series(name, points, look)


def _divergences(every: Sequence[Model]) -> LineChart | None:
    """The divergence of next tokens: its mean and its quantiles."""
    parts: tuple[tuple[str, Callable[[NextToken], Point]], ...] = (
        ("mean", lambda one: _estimate(one.kl)),
        ("99 %", lambda one: _estimate(one.kl_q99)),
        ("99.9 %", lambda one: _estimate(one.kl_q999)),
        ("largest", lambda one: Point(one.kl_max)),
    )
    series = tuple(
        Series(one.name, tuple(part(token) for _, part in parts), one.look)
        for one, token in _compared(every)
    )
    shown = tuple(one for one in series if one.measured)
    caption = "KL(parent || model) at a position, in nats; bars: intervals at 95 %."
    labels = tuple(name for name, _ in parts)
    return LineChart("KL of next tokens", caption, "positions", labels, shown) if shown else None


def _by_position(every: Sequence[Model]) -> LineChart | None:
    """The mean divergence by how many tokens were read before."""
    names = {name for _, token in _compared(every) for name in token.kl_by_position}
    labels = sorted(names, key=lambda name: int(name.partition("-")[0]))
    caption = "Mean KL(parent || model) by position, in nats; bars: intervals at 95 %."
    return _means("position", caption, labels, lambda token: token.kl_by_position, every)


def _by_layer(every: Sequence[Model]) -> LineChart | None:
    """The mean divergence by the layer from whose states the parent goes on."""
    labels = names_of_layers(name for _, token in _compared(every) for name in token.kl_by_layer)
    caption = (
        "Mean KL(parent || parent that goes on from the model's states of the layer), in nats;"
        " bars: intervals at 95 %."
    )
    return _means("layer", caption, labels, lambda token: token.kl_by_layer, every)


def _means(
    by: str,
    caption: str,
    labels: Sequence[str],
    means: Callable[[NextToken], Mapping[str, Estimate]],
    every: Sequence[Model],
) -> LineChart | None:
    """Mean divergences of parts, a line a model."""
    series = tuple(
        Series(one.name, tuple(_estimate(means(token).get(name)) for name in labels), one.look)
        for one, token in _compared(every)
    )
    shown = tuple(one for one in series if one.measured)
    if not shown or len(labels) < _FEWEST:
        return None
    return LineChart(f"KL of next tokens, by {by}", caption, by, tuple(labels), shown)


def _agreement(every: Sequence[Model]) -> LineChart | None:
    """The agreement of several models; that of one is among its facts."""
    found = {one.name: _estimate(token.top1) for one, token in _compared(every)}
    if len(every) == 1 or not found:
        return None
    labels = tuple(one.name for one in every)
    series = Series("agreement", tuple(found.get(name, Point(None)) for name in labels), "s0 apart")
    caption = "Share of positions with the parent's first choice of a next token."
    return LineChart("Top-1 agreement", caption, "model", labels, (series,))


def _compared(every: Sequence[Model]) -> list[tuple[Model, NextToken]]:
    """The models whose next tokens were compared with their parent's."""
    return [
        (one, one.results.run.next_token)
        for one in every
        if one.results.run is not None and one.results.run.next_token is not None
    ]
