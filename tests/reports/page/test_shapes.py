import math
import re

import pytest

from pytest_injectivity.reports.page.charts import (
    Dot,
    HeatCell,
    HeatMap,
    LineChart,
    Point,
    Scatter,
    Series,
)
from pytest_injectivity.reports.page.shapes import Picture, picture


def _chart(*points: Point, look: str = "s0") -> LineChart:
    labels = (*(f"layer{at:02d}" for at in range(1, len(points))), "norm")
    return LineChart("t", "c", "layer", labels, (Series("model", points, look),))


def _paths(drawn: Picture, look: str) -> list[str]:
    found = [dict(one.attributes) for one in drawn.shapes if one.tag == "path"]
    return [one["d"] for one in found if one["class"] == look]


def _words(drawn: Picture) -> list[str]:
    return [one.text for one in drawn.shapes if one.tag == "text"]


def test_a_series_is_a_line_its_points_and_its_intervals() -> None:
    """One path each, however many points."""
    drawn = picture(_chart(Point(1.0, 0.5, 2.0), Point(2.0), Point(3.0, 2.0, 4.0)))
    assert [2] == [path.count("L") for path in _paths(drawn, "line s0")]
    assert [3] == [path.count("h0") for path in _paths(drawn, "dots s0")]
    assert [2] == [path.count("V") for path in _paths(drawn, "bars s0")]


def test_a_number_that_is_missing_parts_the_line() -> None:
    """No line is drawn over a layer that was not measured or is not finite."""
    drawn = picture(_chart(Point(1.0), Point(None), Point(math.nan), Point(2.0), Point(3.0)))
    (line,) = _paths(drawn, "line s0")
    assert (2, 1) == (line.count("M"), line.count("L"))
    assert "nan" not in line


def test_what_is_red_is_marked() -> None:
    """The other points are not."""
    drawn = picture(_chart(Point(1.0), Point(2.0, bad=True)))
    assert [1, 1] == [len(_paths(drawn, look)) for look in ("dots s0", "dots s0 bad")]


def test_larger_numbers_are_higher_up() -> None:
    """The axis of SVG goes down."""
    (line,) = _paths(picture(_chart(Point(1.0), Point(2.0))), "line s0")
    first, second = (float(y) for y in re.findall(r" ([\d.]+)", line))
    assert second < first


def test_a_line_to_compare_with_may_be_off_the_axis() -> None:
    """A resolution of a millionth does not press everything else into a corner."""
    lines = (
        Series("model", (Point(1.0), Point(2.0))),
        Series("bound", (Point(900.0), Point(1.0)), "bound", aside=True),
    )
    drawn = picture(LineChart("t", "c", "layer", ("layer01", "norm"), lines))
    assert "2" in _words(drawn)
    assert "900" not in _words(drawn)
    assert [0] == [path.count("L") for path in _paths(drawn, "line bound")]


def test_labels_are_few_and_have_the_first_and_the_last() -> None:
    """80 layers do not lie over each other."""
    shown = _words(picture(_chart(*(Point(1.0) for _ in range(81)))))
    assert {"1", "norm"} <= set(shown)
    assert len(shown) < 20


def test_several_series_have_a_legend() -> None:
    """One alone is named by the title."""
    one = _chart(Point(1.0))
    two = LineChart("t", "c", "layer", ("norm",), (*one.series, Series("b", (Point(1.0),), "s1")))
    assert () == picture(one).legend
    assert (("s0", "model"), ("s1", "b")) == picture(two).legend


def test_a_map_has_a_path_for_each_shade() -> None:
    """Of many columns neighbors of one shade are one rectangle."""
    levels = [0] * 30 + [3] * 10
    cells = tuple(HeatCell("x", level) for level in levels)
    names = tuple(map(str, range(40)))
    drawn = picture(HeatMap("t", "c", "grid", "layer", ("4 bits",), names, (cells,)))
    assert [1, 1] == [_paths(drawn, f"heat h{level}")[0].count("M") for level in (0, 3)]


def test_a_cell_that_was_not_measured_has_no_shade() -> None:
    """Nothing measured is not a zero."""
    cells = ((HeatCell("–", None), HeatCell("0", 0)),)
    drawn = picture(HeatMap("t", "c", "grid", "layer", ("4 bits",), ("layer01", "norm"), cells))
    assert [1, 1] == [len(_paths(drawn, f"heat h{level}")) for level in ("none", 0)]


def test_points_of_a_scatter_have_numbers() -> None:
    """Which their table explains."""
    dots = (Dot("a", Point(10.0, 5.0, 20.0), Point(90.0)), Dot("b", Point(None), Point(1.0)))
    chart = Scatter("t", "c", "read", "agreement", dots)
    assert "1" in _words(picture(chart))
    assert "2" not in _words(picture(chart))
    assert ["1", "a", "10 [5, 20]", "90"] == [cell.text for cell in chart.table.rows[0]]


def test_where_both_bounds_hold_is_a_corner() -> None:
    """One bound alone is a line."""
    dots = (Dot("a", Point(10.0), Point(90.0)),)
    both = picture(Scatter("t", "c", "read", "agreement", dots, most=10.0, least=80.0))
    one = picture(Scatter("t", "c", "read", "agreement", dots, most=10.0))
    assert [1, 2] == [len(_paths(both, look)) for look in ("corner", "line bound")]
    assert [0, 1] == [len(_paths(one, look)) for look in ("corner", "line bound")]


def test_what_is_no_figure_is_refused() -> None:
    """By its name."""
    with pytest.raises(TypeError, match="int is no figure"):
        picture(3)  # type: ignore[arg-type] # on purpose
