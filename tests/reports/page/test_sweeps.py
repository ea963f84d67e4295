from collections.abc import Sequence

import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.reports.page.charts import Figure
from pytest_injectivity.reports.page.sweeps import sweep_figures
from pytest_injectivity.results.sweeps import Sweep, SweepPoint
from tests.sweep_points import point


def _point(
    layer: str,
    value: float,
    *,
    length: int | None = None,
    model: str = "m",
    bits: int | None = None,
    step: int | None = None,
) -> SweepPoint:
    numbers = {"normalized_margin_q": value, "normalized_colipschitz_q": value / 2}
    return point(numbers, length=length, model=model, layer=layer, bits=bits, step=step)


def _cells(figure: Figure) -> list[list[str]]:
    return [[cell.text for cell in row] for row in figure.table.rows]


VARIED: dict[str, tuple[Sequence[SweepPoint], list[str]]] = {
    "length": (
        [_point(layer, 0.5, length=at) for at in (16, 32) for layer in ("layer01", "layer04")],
        ["16", "32"],
    ),
    "grid": ([_point("layer01", 0.5), _point("layer01", 0.5, bits=4)], ["as is", "4 bits"]),
    "step": (
        [_point("norm", 0.5, model=f"checkpoint-{at}", step=at) for at in (0, 1, 1000)],
        ["0", "1", "1,000"],
    ),
    "model": ([_point("norm", 0.5, model=name) for name in ("org/a", "b/")], ["a", "b"]),
}


@pytest.mark.parametrize("axis", VARIED)
def test_what_the_points_differ_in_is_the_axis(axis: str) -> None:
    """Lengths, grids, steps and models each give a figure of margins and one of constants."""
    points, labels = VARIED[axis]
    margins, constants = sweep_figures([Sweep("by it", tuple(points))])
    assert axis == margins.table.columns[0].title
    assert labels == [row[0] for row in _cells(margins)]
    assert "Co-Lipschitz constant over mean norm, by it" == constants.title


def test_points_are_drawn_at_three_depths() -> None:
    """The first layer, the middle and the last."""
    points = [
        _point(f"layer{at:02d}", at / 8, length=length) for length in (8, 16) for at in range(1, 5)
    ]
    margins, _ = sweep_figures([Sweep("by length", tuple(points))])
    assert ["8", "0.125", "0.25", "0.5"] == _cells(margins)[0]


def test_of_a_training_every_layer_is_drawn() -> None:
    """Where six lines are enough; else the first layer, the middle and the last."""
    every = [
        [_point(f"layer{at:02d}", at / 8, step=step) for step in (0, 4) for at in range(1, last)]
        for last in (5, 8)
    ]
    few, many = (sweep_figures([Sweep("along training", tuple(one))])[0] for one in every)
    assert ["0", "0.125", "0.25", "0.375", "0.5"] == _cells(few)[0]
    assert ["step", "layer01", "layer02"] == [one.title for one in few.table.columns[:3]]
    assert ["0", "0.125", "0.25", "0.5"] == _cells(many)[0]


def test_a_layer_that_lacks_a_step_has_a_gap_there() -> None:
    """What was measured stays at its own step."""
    points = [
        _point(layer, step / 8, step=step)
        for step in (1, 2, 4)
        for layer in ("layer01", "norm")
        if (step, layer) != (2, "layer01")
    ]
    margins, _ = sweep_figures([Sweep("along training", tuple(points))])
    assert [["1", "0.125", "0.125"], ["2", "–", "0.25"], ["4", "0.5", "0.5"]] == _cells(margins)


def test_two_trainings_are_no_sweep() -> None:
    """Which of them a line would show is not known."""
    points = tuple(_point("norm", 0.5, model=f"{run}/checkpoint-3", step=3) for run in "ab")
    with pytest.raises(OptionError, match="a/checkpoint-3 and b/checkpoint-3 are both of step 3"):
        Sweep("along training", points)


def test_the_deepest_layer_stands_for_a_last_one_that_is_not_there() -> None:
    """Where only the norm was measured."""
    margins, _ = sweep_figures([Sweep("by model", tuple(VARIED["model"][0]))])
    assert [["a", "0.5"], ["b", "0.5"]] == _cells(margins)


def test_models_of_one_name_have_their_paths() -> None:
    """Their last parts would not tell them apart."""
    points = tuple(_point("norm", 0.5, model=name) for name in ("x/a", "y/a"))
    margins, _ = sweep_figures([Sweep("by model", points)])
    assert ["x/a", "y/a"] == [row[0] for row in _cells(margins)]


def test_one_point_is_no_curve() -> None:
    """Nor is none."""
    assert () == sweep_figures([Sweep("a", (_point("norm", 1.0),)), Sweep("b", ())])


def test_sweeps_of_one_name_say_whose_they_are() -> None:
    """A run of several models makes one of each."""
    sweeps = [
        Sweep("by length", tuple(_point("norm", 1.0, model=name, length=at) for at in (8, 16)))
        for name in ("a", "b")
    ]
    titles = [one.title for one in sweep_figures(sweeps)]
    assert "Margin over mean norm, by length of a" == titles[0]
    assert 4 == len(set(titles))
