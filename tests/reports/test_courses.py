"""Margins and constants along a training, as a picture."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_injectivity import MissingExtra, OptionError, SweepPoint, write_course
from pytest_injectivity.reports.courses import course
from tests.sweep_points import point

_SVG = "{http://www.w3.org/2000/svg}"


def _point(step: int | None, layer: str, margin: float | None) -> SweepPoint:
    constant = None if margin is None else margin / 4
    numbers = {"normalized_margin_q": margin, "normalized_colipschitz_q": constant}
    return point(numbers, n_layers=2, layer=layer, step=step)


def _points(margins: Mapping[int, float | None]) -> list[SweepPoint]:
    return [
        _point(step, layer, margin)
        for step, margin in margins.items()
        for layer in ("layer01", "norm")
    ]


def _line(text: str, name: str) -> list[tuple[float, float]]:
    """The corners of a line, in pixels."""
    drawn = ET.fromstring(text)  # noqa: S314 - made here, just now
    group = next(one for one in drawn.iter() if one.get("id") == name)
    path = next(one.get("d", "") for one in group.iter(f"{_SVG}path"))
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]


def test_each_layer_has_a_line_in_each_panel() -> None:
    """Steps that grow by a factor are as far from each other; what is larger stands higher."""
    text = course(_points({0: 0.5, 1: 0.25, 10: 0.5, 100: 0.125}))
    names = [f"course-{panel}-{layer}" for panel in (0, 1) for layer in (0, 1)]
    assert [4, 4, 4, 4] == [len(_line(text, name)) for name in names]
    (_, first), (one, _), (ten, _), (hundred, last) = _line(text, "course-0-0")
    assert hundred - ten == pytest.approx(ten - one, rel=1e-3)
    assert first < last


def test_what_was_not_measured_has_no_corner() -> None:
    """The line goes on behind it."""
    assert 2 == len(_line(course(_points({0: 0.5, 1: None, 2: 0.25})), "course-1-1"))


def test_steps_are_written_as_numbers() -> None:
    """Not as the formulas that matplotlib makes of them, and both panels begin alike."""
    text = course(_points({0: 0.5, 1000: 0.25}))
    assert 2 * ["0", "1", "10", "100", "1,000"] == re.findall(">([0-9,]+)<", text)


def test_of_many_layers_six_are_drawn() -> None:
    """From the first to the last, and the legend lies inside the picture and says so."""
    names = [*(f"layer{at:02d}" for at in range(33)), "norm"]
    text = course([_point(step, name, 0.5) for step in (0, 1) for name in names])
    assert 6 == len(set(re.findall("course-0-[0-9]+", text)))
    drawn = ["layer00", "layer07", "layer13", "layer20", "layer26", "norm"]
    assert drawn == re.findall(">(layer[0-9]+|norm)<", text)
    assert ">6 of 34 layers<" in text


@pytest.mark.slow
def test_the_same_points_give_the_same_bytes() -> None:
    """No date, no random id."""
    points = _points({0: 0.5, 1: 0.25})
    assert course(points) == course(points)
    assert ">norm<" in course(points)


@pytest.mark.parametrize("points", [[], [_point(None, "norm", 0.5)]])
def test_points_of_no_training_are_refused(points: list[SweepPoint]) -> None:
    """They have no step to be drawn at."""
    with pytest.raises(OptionError, match="points without a step are of no training"):
        course(points)


def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And nothing is written."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pictures of trainings need matplotlib: .*\[plots\]"):
        write_course(tmp_path / "course.svg", _points({0: 0.5}))
    assert not list(tmp_path.iterdir())
