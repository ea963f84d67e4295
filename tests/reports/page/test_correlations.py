"""What margins go along with, as the page draws it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_injectivity.reports.page.charts import Scatter
from pytest_injectivity.reports.page.correlations import correlation_figures
from pytest_injectivity.reports.page.layers import models
from pytest_injectivity.reports.page.shapes import picture
from pytest_injectivity.results.run_results import ModelResults
from tests.reports.pages import layer, run


def _results(
    margins: Sequence[float], dimensions: Sequence[float], **others: float
) -> ModelResults:
    both = zip(margins, dimensions, strict=True)
    blocks = [
        layer(f"layer{at:02d}", normalized_margin=margin, intrinsic_dimension=dimension, **others)
        for at, (margin, dimension) in enumerate(both, 1)
    ]
    last = layer("norm", normalized_margin=9.0, intrinsic_dimension=99.0)
    return ModelResults(run=run(), layers=(*blocks, last))


def _figures(results: ModelResults) -> tuple[Scatter, ...]:
    return correlation_figures(models([("", results)]))


TEN = [float(at) for at in range(1, 11)]


def test_the_margin_is_drawn_against_the_dimension_of_each_block() -> None:
    """The norm is no block; the last two blocks, which change places, correlate less than fully."""
    (found,) = _figures(_results([*TEN[:8], 10.0, 9.0], TEN))
    assert "Margin and intrinsic dimension" == found.title
    assert ["", "layer"] == [one.title for one in found.table.columns[:2]]
    rows = [[cell.text for cell in row] for row in found.table.rows]
    assert (10, ["9", "layer09", "9", "10"]) == (len(rows), rows[8])
    assert "correlation is +0.99 over 10 blocks; " in found.caption
    assert "with depth alone is +0.99. Blocks of one model are no independent" in found.caption


def test_a_reversed_order_has_the_other_sign() -> None:
    """Both ways: of the number, and of depth."""
    (found,) = _figures(_results(TEN[::-1], TEN))
    assert "correlation is -1.00 over 10 blocks; " in found.caption
    assert "depth alone is -1.00" in found.caption


def test_anisotropy_has_a_figure_of_its_own() -> None:
    """Where it was measured; here it is the same everywhere, which is no correlation."""
    found = _figures(_results(TEN, TEN, anisotropy=0.5))
    assert ["Margin and anisotropy", "Margin and intrinsic dimension"] == [
        one.title for one in found
    ]
    assert "the same at every block" in found[0].caption


@pytest.mark.parametrize(("blocks", "figures"), [(4, 0), (5, 1), (9, 1)])
def test_few_blocks_have_no_correlation(blocks: int, figures: int) -> None:
    """And of very few nothing is drawn."""
    found = _figures(_results(TEN[:blocks], TEN[:blocks]))
    words = f"Too few blocks for a rank correlation: {blocks}, and 10 are needed."
    assert [True] * figures == [one.caption.endswith(words) for one in found]


def test_a_block_without_a_number_is_no_point() -> None:
    """As of states whose dimension is not defined, the embedding, and rounded states."""
    results = _results(TEN, TEN)
    lost = layer("layer03", normalized_margin=3.0)
    other = [layer("layer00", normalized_margin=1.0, intrinsic_dimension=1.0), layer("layer01", 4)]
    layers = [lost if one.layer == lost.layer else one for one in results.layers]
    (found,) = _figures(replace(results, layers=(*other, *layers)))
    assert (1, 2, 4, 5, 6, 7, 8, 9, 10) == found.numbers


def test_what_was_not_measured_has_no_figure() -> None:
    """Nor has a run of layers without these numbers."""
    assert () == _figures(ModelResults())
    assert () == _figures(ModelResults(run=run(), layers=(layer("layer01"),) * 12))


def test_several_models_have_figures_with_their_names() -> None:
    """One each."""
    every = models([(name, _results(TEN, TEN)) for name in ("a", "b")])
    title = "Margin and intrinsic dimension"
    assert [f"{title}, a", f"{title}, b"] == [one.title for one in correlation_figures(every)]


def test_blocks_are_joined_in_their_order_on_axes_that_fit_them() -> None:
    """From 1 to 2 up and from 10 to 20 across, not from 0 on."""
    dimensions = [float(at) for at in range(10, 20)]
    (found,) = _figures(_results([one / 10 for one in dimensions], dimensions))
    drawn = [dict(one.attributes) for one in picture(found).shapes]
    (line,) = [one["d"] for one in drawn if one["class"] == "line light"]
    places = [tuple(map(float, one.split())) for one in line[1:].split("L")]
    assert sorted(places) == places
    assert sorted(places, key=lambda place: -place[1]) == places
    assert (10, (46.0, 208.0), (296.2, 42.4)) == (len(places), places[0], places[-1])


@pytest.mark.parametrize(
    ("dimensions", "labels"),
    [
        ([float(at) for at in range(1, 13)], ["1", "12", "5", "10"]),
        ([1.0, 1.001, *[float(at) for at in range(3, 12)], 1.002], ["1", "5", "10"]),
    ],
)
def test_the_ends_of_a_course_and_some_between_have_their_numbers(
    dimensions: list[float], labels: list[str]
) -> None:
    """None stands over another."""
    margins = [1.0] * 11 + [1.0 + 1e-9]
    (found,) = _figures(_results(margins, dimensions))
    shapes = [one for one in picture(found).shapes if ("class", "axis strong") in one.attributes]
    ends = [one for one in picture(found).shapes if ("class", "axis end strong") in one.attributes]
    assert sorted(labels) == sorted(one.text for one in (*shapes, *ends))
