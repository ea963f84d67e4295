from pathlib import Path
from xml.etree import ElementTree as ET

from pytest_injectivity.reports.curves import picture, write_picture
from tests.results.test_releases import curve, point

_SVG = "{http://www.w3.org/2000/svg}"


def _drawn(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - made here, just now


def test_every_point_is_drawn_where_it_belongs() -> None:
    """To the right what was read, upwards what is left."""
    found = _drawn(picture([curve(point("3"), point("4"))]))
    marks = [one for one in found.iter(f"{_SVG}circle") if one.find(f"{_SVG}title") is not None]
    assert ["round(bits=3)@4", "round(bits=4)@4"] == [one[0].text for one in marks]
    frame = next(one for one in found.iter(f"{_SVG}rect") if one.get("fill") == "none")
    left, top, side = (float(frame.get(name, "")) for name in ("x", "y", "width"))
    for one in marks:
        assert abs(float(one.get("cx", "")) - (left + 0.3 * side)) < 0.1
        assert abs(float(one.get("cy", "")) - (top + 0.1 * side)) < 0.1


def test_the_corner_where_both_hold_is_shaded() -> None:
    """Up to the rate allowed, down to the agreement wanted."""
    found = _drawn(picture([curve(point("3"))]))
    corner = next(one for one in found.iter(f"{_SVG}rect") if one.get("fill") == "#e8f2e8")
    assert abs(float(corner.get("width", "")) - 0.4 * 240) < 0.1
    assert abs(float(corner.get("height", "")) - 0.1 * 240) < 0.1


def test_each_place_has_a_panel_and_each_release_a_colour() -> None:
    """The same colour at every layer."""
    other = curve(point("9"), release="topk(share=?)@4")
    found = _drawn(picture([curve(point("3")), other]))
    lines = [one.get("stroke") for one in found.iter(f"{_SVG}polyline")]
    assert 2 == len(set(lines))
    texts = [one.text for one in found.iter(f"{_SVG}text")]
    assert ["layer 4"] == [one for one in texts if one and one.startswith("layer")]
    assert {"round(bits=?)", "topk(share=?)", "a model, 50 prompts"} <= set(texts)


def test_all_text_is_escaped() -> None:
    """Names come from outside."""
    evil = 'round(bits=?)</text><script>alert("x")</script>\x1b[31m@4'
    text = picture([curve(point("<b>&"), release=evil)])
    assert "<script" not in text
    assert "\x1b" not in text
    assert "<b>&" in [one.text for one in _drawn(text).iter(f"{_SVG}text")]


def test_points_without_a_use_are_left_out() -> None:
    """They have no height."""
    from dataclasses import replace

    bare = point("3")
    bare = replace(bare, release=replace(bare.release, agreement=None, divergence=None))
    found = _drawn(picture([curve(bare, point("4"))]))
    titles = [one.text for one in found.iter(f"{_SVG}title")]
    assert "round(bits=3)@4" not in titles
    assert "round(bits=4)@4" in titles


def test_it_is_written_whole(tmp_path: Path) -> None:
    """Into a folder that is made."""
    write_picture(tmp_path / "new" / "curves.svg", [curve(point("3"))])
    assert picture([curve(point("3"))]) == (tmp_path / "new" / "curves.svg").read_text()
