import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_injectivity.errors import MissingExtra
from pytest_injectivity.reports.curves import picture, write_picture
from tests.results.test_releases import curve, point

_SVG = "{http://www.w3.org/2000/svg}"


def _drawn(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - made here, just now


def _corners(drawn: ET.Element, name: str) -> list[list[tuple[float, float]]]:
    """The points of every path of a group, in pixels."""
    group = next(one for one in drawn.iter() if one.get("id") == name)
    paths = [one.get("d", "") for one in group.iter(f"{_SVG}path") if one.get("id") is None]
    found = [re.findall(r"[ML] ([\d.]+) ([\d.]+)", path) for path in paths]
    return [[(float(x), float(y)) for x, y in points] for points in found if points]


def _percent(drawn: ET.Element, name: str) -> list[list[tuple[float, float]]]:
    """The same in the panel's percent."""
    frame = _corners(drawn, "frame-0")[0]
    left, right = min(x for x, _ in frame), max(x for x, _ in frame)
    top, bottom = min(y for _, y in frame), max(y for _, y in frame)
    return [
        [
            (100 * (x - left) / (right - left), 100 * (bottom - y) / (bottom - top))
            for x, y in points
        ]
        for points in _corners(drawn, name)
    ]


def _texts(drawn: ET.Element) -> list[str]:
    return [one.text or "" for one in drawn.iter(f"{_SVG}text")]


def test_every_point_is_drawn_where_it_belongs() -> None:
    """To the right what was read, upwards what is left; the strength beside it."""
    lower = point("4")
    half = replace(lower.release.agreement, right=500, low=0.4, high=0.6)
    lower = replace(lower, release=replace(lower.release, agreement=half))
    found = _drawn(picture([curve(point("3"), lower)]))
    (line,) = _percent(found, "curve-0-0")
    assert [pytest.approx((30, 90), abs=0.1), pytest.approx((30, 50), abs=0.1)] == line
    assert {"3", "4"} <= set(_texts(found))


def test_the_interval_of_what_was_read_is_a_bar() -> None:
    """From its lower to its upper end, at the height of the point."""
    found = _drawn(picture([curve(point("3"))]))
    (bar,) = _percent(found, "intervals-0-0")
    assert [pytest.approx((25, 90), abs=0.1), pytest.approx((35, 90), abs=0.1)] == bar


def test_the_corner_where_both_hold_is_shaded() -> None:
    """Up to the rate allowed, down to the agreement wanted."""
    found = _drawn(picture([curve(point("3"))]))
    (corner,) = _percent(found, "corner-0")
    assert pytest.approx((0, 40), abs=0.1) == (min(x for x, _ in corner), max(x for x, _ in corner))
    assert pytest.approx((90, 100), abs=0.1) == (
        min(y for _, y in corner),
        max(y for _, y in corner),
    )


def test_each_place_has_a_panel_and_each_release_a_colour() -> None:
    """The same colour at every layer."""
    other = curve(point("9"), release="topk(share=?)@4")
    text = picture([curve(point("3"), point("4")), other])
    found = _drawn(text)
    assert ["layer 4"] == [one for one in _texts(found) if one.startswith("layer")]
    assert {"round(bits=?)", "topk(share=?)", "a model, 50 prompts"} <= set(_texts(found))
    styles = [
        next(one for one in found.iter() if one.get("id") == f"intervals-0-{at}")[0].get("style")
        for at in (0, 1)
    ]
    assert 2 == len(set(styles))


def test_all_text_is_escaped() -> None:
    """Names come from outside; a dollar begins no formula."""
    evil = 'round(bits=?)</text><script>alert("x")</script>\x1b[31m$x$@4'
    text = picture([curve(point("<b>&$\\frac$"), release=evil)])
    assert "<script" not in text
    assert "\x1b" not in text
    assert "<b>&$\\frac$" in _texts(_drawn(text))


def test_points_without_a_use_are_left_out() -> None:
    """They have no height."""
    bare = point("3")
    bare = replace(bare, release=replace(bare.release, agreement=None, divergence=None))
    shown = _texts(_drawn(picture([curve(bare, point("4"))])))
    assert "4" in shown
    assert "3" not in shown


def test_points_without_an_attacker_are_left_out() -> None:
    """Nobody read anything of them, so that they have no place on the axis of what was read."""
    alone = replace(point("4"), release=replace(point("4").release, attacks=()))
    found = _drawn(picture([curve(point("3"), alone)]))
    (line,) = _percent(found, "curve-0-0")
    assert [pytest.approx((30, 90), abs=0.1)] == line


def test_the_same_curves_are_the_same_bytes() -> None:
    """No date, no random id."""
    first, second = (picture([curve(point("3"), point("4"))]) for _ in range(2))
    assert first == second
    assert "<dc:date>" not in first


def test_it_is_written_whole(tmp_path: Path) -> None:
    """Into a folder that is made."""
    write_picture(tmp_path / "new" / "curves.svg", [curve(point("3"))])
    assert picture([curve(point("3"))]) == (tmp_path / "new" / "curves.svg").read_text()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are the only thing that needs it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"install pytest-injectivity\[plots\]"):
        picture([curve(point("3"))])
