from dataclasses import replace

import pytest

from pytest_injectivity.reports.page.charts import Figure, Histogram, LineChart, Scatter
from pytest_injectivity.reports.page.contractions import contraction_figures
from pytest_injectivity.reports.page.distances import distance_figures
from pytest_injectivity.reports.page.grids import grid_figures
from pytest_injectivity.reports.page.layers import layer_figures, models
from pytest_injectivity.reports.page.parents import parent_figures
from pytest_injectivity.reports.page.recoveries import recovery_figures
from pytest_injectivity.reports.page.releases import release_figures
from pytest_injectivity.reports.page.repetitions import repetition_figures
from pytest_injectivity.reports.page.side_by_side import model_figures
from pytest_injectivity.results.releases import OVER_GUESSED
from pytest_injectivity.results.run_results import ModelResults
from pytest_injectivity.results.summary import Estimate, NextToken
from pytest_injectivity.results.verdict import Reason, Status
from tests.reports.pages import comparison, layer, reason, run, verdict
from tests.results.test_releases import ATTACK, SUMMARY

RESULTS = ModelResults(
    run=run(reference="parent"),
    layers=(layer("norm"), layer("layer01"), layer("layer01", 4, collisions=66)),
    comparisons=(comparison("layer01"), comparison("norm")),
    releases=(SUMMARY,),
)


def _by_title(figures: tuple[Figure, ...]) -> dict[str, Figure]:
    return {one.title: one for one in figures}


def _lines(figure: Figure) -> dict[str, list[float | None]]:
    assert isinstance(figure, LineChart)
    return {one.name: [point.value for point in one.points] for one in figure.series}


def _cells(figure: Figure) -> list[list[str]]:
    return [[cell.text for cell in row] for row in figure.table.rows]


def test_layers_go_from_shallow_to_deep() -> None:
    """The norm is last."""
    found = _by_title(layer_figures(models([("", RESULTS)]), ()))
    margin = found["Separation margin, 1 % quantile"]
    assert ["layer01", "norm"] == [row[0] for row in _cells(margin)]


def test_the_parents_number_follows_from_the_share_that_is_kept() -> None:
    """Half of it is kept, so it is twice the model's."""
    found = _by_title(layer_figures(models([("", RESULTS)]), ()))
    margin = _lines(found["Separation margin, 1 % quantile"])
    assert {"model": [1.0, 1.0], "parent": [2.0, 2.0]} == margin
    assert {"model": [4.0, 4.0], "parent": [4.0, 4.0]} == _lines(found["Mean norm"])


def test_a_parent_of_a_collapsed_model_has_no_number() -> None:
    """Nothing over a share of 0 is known."""
    collapsed = replace(RESULTS, comparisons=(comparison("layer01", kept=0.0),))
    found = _by_title(layer_figures(models([("", collapsed)]), ()))
    assert ["model"] == list(_lines(found["Separation margin, 1 % quantile"]))


def test_a_number_has_the_interval_of_the_verdict_on_it() -> None:
    """Of another number it has none."""
    judged = verdict(reason("layer01", value=1.0), reason("norm", value=3.0))
    found = _by_title(layer_figures(models([("", RESULTS)]), (judged,)))
    rows = _cells(found["Separation margin, 1 % quantile"])
    assert [["layer01", "1 [0.5, 2]", "2"], ["norm", "1", "2"]] == rows


def test_distances_are_boxes_with_resolution_and_bound() -> None:
    """A bound in units of the mean norm is drawn in those of the states."""
    judged = verdict(replace(reason("layer01"), quantity="separation margin (q=0.01, normalized)"))
    found = _by_title(distance_figures(models([("", RESULTS)]), (judged,)))
    rows = _cells(found["Distances to the nearest prompt, by layer"])
    boxes = ["2 [0.5, 8]", "2 [1.25, 4]", "2 [1.5, 3]", "1e-05"]
    assert [["layer01", *boxes, "3"], ["norm", *boxes, "–"]] == rows


def test_distances_are_counted_at_the_layer_nearest_to_its_bound() -> None:
    """A bar for each tenth of a decade, with the bound and the resolution of that layer."""
    every = models([("", RESULTS)])
    judged = verdict(reason("layer01"), replace(reason("norm"), bound=0.875))
    (chart, *_) = distance_figures(every, (judged,))
    assert isinstance(chart, Histogram)
    assert "Distances to the nearest prompt, norm" == chart.title
    assert ["0.501 – 0.631", "1"] == _cells(chart)[0]
    assert ("resolution: 1e-05", "bound: 0.875") == chart.table.notes


def test_without_a_bound_distances_are_counted_at_the_narrowest_layer() -> None:
    """In units of its mean norm."""
    narrow = replace(RESULTS, layers=(layer("layer01"), layer("norm", normalized_margin_q=0.125)))
    (chart, *_) = distance_figures(models([("", narrow)]), ())
    assert "Distances to the nearest prompt, norm" == chart.title


def test_near_collisions_and_rounded_activations_are_maps() -> None:
    """Shares of pairs within a distance, and pairs that collide, by layer."""
    found = _by_title(layer_figures(models([("", RESULTS)]), ()))
    maps = _by_title(grid_figures(models([("", RESULTS)])))
    assert ["layer01", "0.25", "0"] == _cells(found["Near-collisions"])[0]
    assert [["layer01", "66"]] == _cells(maps["Activations rounded after capture"])


def test_margins_of_rounded_activations_are_lines() -> None:
    """From the states as they are to the coarsest grid, for some of the layers."""
    every = [layer(f"layer{at:02d}", bits) for at in range(1, 10) for bits in (None, 8, 2)]
    found = _by_title(grid_figures(models([("", replace(RESULTS, layers=tuple(every)))])))
    lines = found["Margin over mean norm, by bits"]
    assert ["as is", "8 bits", "2 bits"] == [row[0] for row in _cells(lines)]
    assert ["layer 1", "layer 3", "layer 5", "layer 7", "layer 9"] == list(_lines(lines))


def test_three_models_have_lines_from_model_to_model() -> None:
    """Two are compared well enough by their lines over layers."""
    every = models([(name, RESULTS) for name in ("a", "b", "c")])
    found = _by_title(model_figures(every))
    assert [["a", "0.25", "0.25"], ["b", "0.25", "0.25"], ["c", "0.25", "0.25"]] == _cells(
        found["Margin over mean norm, by model"]
    )
    assert () == model_figures(every[:2])


def test_what_is_zero_everywhere_has_no_figure() -> None:
    """A figure of zeros says less than the table of layers does."""
    quiet = replace(RESULTS, layers=(layer("norm", near_fractions={"0.01": 0.0}),))
    titles = _by_title(layer_figures(models([("", quiet)]), ()))
    assert not {"Colliding pairs", "Near-collisions"} & set(titles)


def test_several_models_share_a_figure_and_their_parents_line() -> None:
    """Models of two parents have two."""
    other = replace(RESULTS, run=run(reference="another"))
    one_parent = layer_figures(models([("a", RESULTS), ("b", RESULTS)]), ())
    two_parents = layer_figures(models([("a", RESULTS), ("b", other)]), ())
    title = "Separation margin, 1 % quantile"
    assert ["a", "b", "parent"] == list(_lines(_by_title(one_parent)[title]))
    expected = ["a", "b", "parent of a", "parent of b"]
    assert expected == list(_lines(_by_title(two_parents)[title]))


def test_what_is_kept_stands_beside_the_parents() -> None:
    """With its interval, around a line at 1."""
    found = _by_title(parent_figures(models([("", RESULTS)])))
    assert ["layer01", "1", "0.5 [0.25, 1]"] == _cells(found["Margin kept"])[0]
    assert ["layer01", "0.02", "0.03", "0.01"] == _cells(found["Drift of states"])[0]
    assert {"Block error", "Weight error"} <= set(found)
    assert "SipIt" not in found


AT = Estimate(0.5, 0.25, 1.0)
TOKEN = NextToken(3, 9, False, 0, 0, AT, AT, AT, 1.0, AT, 0.0)  # noqa: FBT003 - in its order


def _next_token(**by_position: Estimate) -> ModelResults:
    positions = {name.strip("p").replace("_", "-"): one for name, one in by_position.items()}
    return replace(RESULTS, run=run(next_token=replace(TOKEN, kl_by_position=positions)))


def test_divergences_of_next_tokens_are_shown() -> None:
    """The mean and the quantiles, each with its interval."""
    found = _by_title(parent_figures(models([("", _next_token())])))
    rows = _cells(found["KL of next tokens"])
    assert [["mean", "0.5 [0.25, 1]"], ["largest", "1"]] == [rows[0], rows[-1]]
    assert not {"KL of next tokens, by position", "Top-1 agreement"} & set(found)


def test_divergences_are_shown_by_position() -> None:
    """In the order of positions."""
    later, first = Estimate(0.25, 0.125, 0.5), Estimate(0.5, 0.25, 1.0)
    told = _next_token(p16_31=later, p1=first)
    found = _by_title(parent_figures(models([("", told)])))
    assert [["1", "0.5 [0.25, 1]"], ["16-31", "0.25 [0.125, 0.5]"]] == _cells(
        found["KL of next tokens, by position"]
    )


def test_divergences_are_shown_by_layer() -> None:
    """Shallow first, the states after the final norm last."""
    last, first = Estimate(0.5, 0.25, 1.0), Estimate(0.25, 0.125, 0.5)
    told = replace(TOKEN, kl_by_layer={"norm": last, "layer02": first})
    results = replace(RESULTS, run=run(next_token=told))
    found = _by_title(parent_figures(models([("", results)])))
    assert [["layer02", "0.25 [0.125, 0.5]"], ["norm", "0.5 [0.25, 1]"]] == _cells(
        found["KL of next tokens, by layer"]
    )


def test_next_tokens_of_several_models_are_compared() -> None:
    """One that was not compared has no number."""
    found = _by_title(parent_figures(models([("a", _next_token()), ("b", RESULTS)])))
    assert ["a"] == list(_lines(found["KL of next tokens"]))
    assert [["a", "0.5 [0.25, 1]"], ["b", "–"]] == _cells(found["Top-1 agreement"])


def test_nothing_compared_has_no_figure() -> None:
    """Nor has a run that measured nothing."""
    every = models([("", ModelResults())])
    assert [()] * 9 == [
        distance_figures(every, ()),
        grid_figures(every),
        model_figures(every),
        layer_figures(every, ()),
        parent_figures(every),
        release_figures(every, ()),
        recovery_figures(every, ()),
        repetition_figures(every, ()),
        contraction_figures(every, ()),
    ]


def test_releases_are_plotted_by_privacy_and_utility() -> None:
    """And by position."""
    found = _by_title(release_figures(models([("", RESULTS)]), ()))
    plot = _cells(found["Privacy and utility at layer 4"])
    assert [
        ["1", "round(bits=4)", "30 [25, 35]", "90 [85, 95]", "argmin, teacher-forced", "0.02"]
    ] == plot
    assert [["0", "50 %"], ["1", "10 %"]] == _cells(found["Tokens read by position"])


def test_the_bounds_of_releases_are_drawn() -> None:
    """Where all releases at a place were judged by one."""
    read = [
        verdict(replace(reason(name, unit="release"), bound=bound), check="not_recoverable")
        for name, bound in (("round(bits=4)@4", 0.25), ("identity@5", 0.5))
    ]
    two = verdict(replace(reason("round(bits=4)@4"), bound=0.5), check="not_recoverable")
    found = [release_figures(models([("", RESULTS)]), judged)[0] for judged in (read, [*read, two])]
    plots = [one for one in found if isinstance(one, Scatter)]
    assert [(25.0, None), (None, None)] == [(one.most, one.least) for one in plots]


def test_a_figure_of_many_releases_says_what_it_leaves_out() -> None:
    """The table of releases has all."""
    many = tuple(replace(SUMMARY, release=f"round(bits={bits})") for bits in range(50))
    found = release_figures(models([("", replace(RESULTS, releases=many))]), ())
    assert 2 == len(found)
    assert {True} == {one.caption.endswith(" The first 40 of 50 releases.") for one in found}
    assert 40 == len(_by_title(found)["Privacy and utility at layer 4"].table.rows)


def test_a_bound_over_what_is_guessed_is_drawn_where_it_lies() -> None:
    """10 points over the 20 % that the model guesses."""
    judged = replace(
        reason("round(bits=4)@4", unit="release"),
        quantity=f"tokens read{OVER_GUESSED}",
        bound=0.1,
        figures={"guessed": 0.2},
    )
    (plot, _) = release_figures(models([("", RESULTS)]), [verdict(judged, check="not_recoverable")])
    assert isinstance(plot, Scatter)
    assert 30.0 == pytest.approx(plot.most)


def test_a_release_without_use_is_in_the_map_alone() -> None:
    """Nothing is plotted where there is no agreement."""
    useless = replace(RESULTS, releases=(replace(SUMMARY, agreement=None),))
    assert ["Tokens read by position"] == list(
        _by_title(release_figures(models([("", useless)]), ()))
    )


def test_positions_are_in_their_order() -> None:
    """10 comes after 9."""
    attack = replace(ATTACK, by_position=dict.fromkeys(("10", "9", "0"), ATTACK.tokens))
    results = replace(RESULTS, releases=(replace(SUMMARY, attacks=(attack,)),))
    found = _by_title(release_figures(models([("", results)]), ()))
    assert ["0", "9", "10"] == [row[0] for row in _cells(found["Tokens read by position"])]


def _recovered(where: str, **figures: float) -> Reason:
    return Reason(where, Status.PASS, "rate", 1.0, 1.0, ">=", figures=figures)


def test_sipit_is_shown_up_to_each_position() -> None:
    """What failed once is lost from there on."""
    judged = verdict(
        _recovered("norm", prompts=4, tokens=3),
        _recovered("layer01", prompts=4, tokens=3, failed_at_1=3),
        check="sipit_recovers",
    )
    (found,) = recovery_figures(models([("", RESULTS)]), (judged,))
    assert [["0", "100 %", "100 %"], ["1", "25 %", "100 %"], ["2", "25 %", "100 %"]] == _cells(
        found
    )


def test_repetitions_are_shown_by_their_number() -> None:
    """A step that is not judged at a layer is no step told apart."""
    judged = verdict(
        _recovered("norm", tokens=2, steps=4),
        _recovered("layer01", tokens=2, steps=6, alike_at_1=1, alike_at_3=2),
        check="no_repetition_collapse",
    )
    (found,) = repetition_figures(models([("", RESULTS)]), (judged,))
    assert ["1", "2", "3"] == list(found.columns)
    rows = [[one.text for one in row] for row in found.cells]
    assert [["50 %", "0 %", "100 %"], ["0 %", "0 %", "–"]] == rows


def test_each_verdict_on_repetitions_is_shown() -> None:
    """A green one behind a beginning does not stand for a red one without."""
    reason = _recovered("layer01", tokens=1, steps=2, alike_at_1=1)
    red = verdict(reason, check="no_repetition_collapse")
    green = replace(red, reasons=(_recovered("layer01", tokens=1, steps=2),))
    found = repetition_figures(models([("", RESULTS)]), (red, green))
    assert ["100 %", "0 %"] == [one.cells[0][0].text for one in found]


def test_of_many_repetitions_some_have_a_column() -> None:
    """The first ones, and the last."""
    judged = verdict(
        _recovered("layer01", tokens=1, steps=500, alike_at_500=1), check="no_repetition_collapse"
    )
    (found,) = repetition_figures(models([("", RESULTS)]), (judged,))
    assert ("1", "2", "500") == (*found.columns[:2], found.columns[-1])
    assert "100 %" == found.cells[0][-1].text


def _contracted(where: str, bound: float = 1e-3, **figures: float) -> Reason:
    spread = {
        "ratio_least": 1e-6,
        "ratio_median": 1e-4,
        "ratio_greatest": 0.01,
        "known_from": 1e-15,
    }
    budget = {"prompts": 5, "positions": 10, "normalized": 1}
    return replace(_recovered(where, **{**spread, **budget, **figures}), bound=bound)


def test_contraction_is_shown_beside_the_one_step_margin() -> None:
    """The least of the ways in which it was measured, over the mean norm of the layer."""
    judged = verdict(_contracted("norm"), _contracted("layer01"), check="local_colipschitz_above")
    first = _recovered("layer01", first_position_margin=2.0, after_special_margin=1.0)
    later = _recovered("layer01", one_step_margin=0.5)
    beside = [
        verdict(first, check="one_step_distinct"),
        verdict(later, check="no_continuation_collisions"),
    ]
    (found,) = contraction_figures(models([("", RESULTS)]), (judged, *beside))
    spread = "0.0001 [1e-06, 0.01]"
    assert [
        ["layer01", spread, "0.125", "1e-15", "0.001"],
        ["norm", spread, "–", "1e-15", "0.001"],
    ] == _cells(found)
    assert "at 10 positions of 5 prompts" in found.caption
    assert found.caption.endswith("in mean norms.")


def test_contraction_without_a_margin_says_nothing_of_it() -> None:
    """Nor is a bound in other units drawn, nor a margin of a layer whose norm is not known."""
    judged = verdict(_contracted("layer01", normalized=0), check="local_colipschitz_above")
    beside = verdict(_recovered("layer01", first_position_margin=2.0), check="one_step_distinct")
    empty = models([("", ModelResults())])
    (found,) = contraction_figures(empty, (judged, beside))
    assert ["least to greatest, median", "known from"] == list(_lines(found))
    assert "margin" not in found.caption


def test_contraction_at_single_layers_shares_a_figure() -> None:
    """As of a test for each layer; another number of positions is another figure."""
    names = ("layer01", "norm")
    judged = [verdict(_contracted(name), check="local_colipschitz_above") for name in names]
    other = verdict(_contracted("norm", positions=3), check="local_colipschitz_above")
    found = contraction_figures(models([("", RESULTS)]), (*judged, other))
    assert [["layer01", "norm"], ["norm"]] == [list(one.labels) for one in found]


def test_contraction_that_was_not_measured_has_no_figure() -> None:
    """As without a float64 copy, or of another model."""
    lost = verdict(_recovered("layer01"), check="local_colipschitz_above")
    other = replace(verdict(_contracted("norm"), check="local_colipschitz_above"), model="b")
    assert () == contraction_figures(models([("", RESULTS)]), (lost, other))


@pytest.mark.parametrize("check", ["sipit_recovers", "margin_above"])
def test_a_verdict_without_positions_has_no_map(check: str) -> None:
    """States that were not finite, and other checks."""
    judged = verdict(_recovered("norm"), check=check)
    assert () == recovery_figures(models([("", RESULTS)]), (judged,))
