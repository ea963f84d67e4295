import math
import re
from itertools import pairwise

import pytest

from pytest_injectivity.reports.page.charts import (
    Bin,
    Dot,
    HeatCell,
    HeatMap,
    Histogram,
    LineChart,
    Mark,
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


def test_points_in_one_place_have_their_numbers_in_one() -> None:
    """One over the other could not be read."""
    dots = tuple(Dot("a", Point(at), Point(90.0)) for at in (10.0, 10.0, 50.0))
    words = _words(picture(Scatter("t", "c", "read", "agreement", dots)))
    assert ["1, 2", "3"] == words[-2:]


def test_numbers_of_near_points_are_one_label() -> None:
    """Twenty releases that hide nothing stand above each other: labels are at least a line apart."""
    dots = tuple(Dot("a", Point(100.0), Point(100.0 - at)) for at in range(20))
    drawn = picture(Scatter("t", "c", "read", "agreement", dots))
    labels = [one for one in drawn.shapes if dict(one.attributes)["class"].endswith("strong")]
    heights = sorted(float(dict(one.attributes)["y"]) for one in labels)
    assert ["1-6", "7-12", "13-18", "19, 20"] == [one.text for one in labels]
    assert min(below - above for above, below in pairwise(heights)) >= 10


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


def _histogram(*marks: Mark, zeros: int = 0) -> Picture:
    bins = (*([Bin(0.0, 0.0, zeros)] if zeros else []), Bin(1.0, 1.26, 2), Bin(2.0, 2.51, 4))
    return picture(Histogram("t", "c", "distance", "prompts", bins, marks))


def _uprights(drawn: Picture, look: str) -> list[float]:
    return [float(path[1:].split()[0]) for path in _paths(drawn, look)]


def test_bars_are_one_path() -> None:
    """As high as their counts."""
    (bars,) = _paths(_histogram(), "area s0")
    tops = [float(one) for one in re.findall(r"V([\d.]+)h", bars)]
    floors = [float(one) for one in re.findall(r"V([\d.]+)z", bars)]
    assert (floors[0] - tops[0]) * 2 == pytest.approx(floors[1] - tops[1])


def test_marks_stand_upright_in_their_order() -> None:
    """Far from the bars as well; the legend has their numbers."""
    drawn = _histogram(Mark("resolution", 1e-4, "parent"), Mark("bound", 1.5, "bound"))
    (resolution,), (bound,) = _uprights(drawn, "line parent"), _uprights(drawn, "line bound")
    assert resolution < bound
    assert (("parent", "resolution 0.0001"), ("bound", "bound 1.5")) == drawn.legend


def test_a_mark_too_far_away_is_in_the_legend_alone() -> None:
    """It would press all bars into a corner."""
    drawn = _histogram(Mark("resolution", 1e-14, "parent"))
    assert [] == _paths(drawn, "line parent")
    assert (("parent", "resolution 1e-14"),) == drawn.legend


def test_zeros_have_a_place_before_the_axis() -> None:
    """Named as such."""
    drawn = _histogram(zeros=3)
    (bars,) = _paths(drawn, "area s0")
    assert 3 == bars.count("z")
    assert 2 == _words(drawn).count("0")
