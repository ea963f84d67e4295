"""The privacy-utility curves as an SVG picture: no plotting library, nothing fetched, all text escaped.

A panel a place. To the right more tokens are read by the strongest attacker, upwards more use is left:
a release worth having stands top left, in the shaded corner where both bounds hold. A horizontal line
through a point is the interval of what was read.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.text import one_line
from pytest_injectivity.results.releases import CurvePoint, PrivacyCurve

# Pixels.
_SIDE = 240
_LEFT, _TOP, _GAP, _BELOW = 56, 30, 26, 46
_LINE = 17
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Told apart by people who confuse red and green (Okabe and Ito), and by their marks.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLE = "font-family:sans-serif;font-size:11px"


def write_picture(path: Path, curves: Sequence[PrivacyCurve]) -> None:
    """Writes the picture, whole or not at all.

    Args:
        path: of the file; its folder is made.
        curves: at least one; points without a utility are left out.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, picture(curves))


def picture(curves: Sequence[PrivacyCurve]) -> str:
    """The picture as text."""
    places = list(dict.fromkeys(_place(curve) for curve in curves))
    releases = list(dict.fromkeys(_release(curve) for curve in curves))
    width = _LEFT + len(places) * (_SIDE + _GAP)
    height = _TOP + _SIDE + _BELOW + _LINE * (len(releases) + 1)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{_STYLE}">',
        f"<title>{_text('what is read and what is left of what is shared')}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for at, place in enumerate(places):
        here = [curve for curve in curves if _place(curve) == place]
        left = _LEFT + at * (_SIDE + _GAP)
        parts += _panel(place, here[0], left, labelled=at == 0)
        for curve in here:
            parts += _curve(curve, left, _COLOURS[releases.index(_release(curve)) % len(_COLOURS)])
    under = _TOP + _SIDE + _BELOW
    for at, release in enumerate(releases):
        colour, y = _COLOURS[at % len(_COLOURS)], under + _LINE * at
        parts.append(f'<circle cx="{_LEFT + 5}" cy="{y - 4}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 16}" y="{y}">{_text(release)}</text>')
    subject = _text(curves[0].subject)
    y = under + _LINE * len(releases)
    return "\n".join([*parts, f'<text x="{_LEFT}" y="{y}">{subject}</text>', "</svg>", ""])


def _panel(place: str, curve: PrivacyCurve, left: int, *, labelled: bool) -> list[str]:
    """Axes, and the corner where both bounds hold."""
    corner = _x(left, curve.max_token_rate) - left, _y(curve.min_agreement) - _TOP
    parts = [
        f'<rect x="{left}" y="{_TOP}" width="{corner[0]:.1f}" height="{corner[1]:.1f}" fill="#e8f2e8"/>',
        f'<rect x="{left}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#888"/>',
        f'<text x="{left}" y="{_TOP - 10}">layer {_text(place)}</text>',
    ]
    for tick in _TICKS:
        x, y = _x(left, tick), _y(tick)
        parts.append(_words(x, _TOP + _SIDE + 14, f"{100 * tick:g}", anchor="middle"))
        if labelled:
            parts.append(_words(left - 6, y + 4, f"{100 * tick:g}", anchor="end"))
    middle = left + _SIDE / 2
    parts.append(_words(middle, _TOP + _SIDE + 28, "% of tokens read", anchor="middle"))
    if labelled:
        y = _TOP + _SIDE / 2
        turned = f'transform="rotate(-90 14 {y:.1f})" text-anchor="middle"'
        parts.append(f'<text x="14" y="{y:.1f}" {turned}>% next-token agreement</text>')
    return parts


def _curve(curve: PrivacyCurve, left: int, colour: str) -> list[str]:
    drawn = [(one, *_at(one, left)) for one in curve.points if one.release.agreement]
    line = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in drawn)
    parts = [f'<polyline points="{line}" fill="none" stroke="{colour}"/>']
    for one, x, y in drawn:
        read = one.release.strongest.tokens
        ends = f'x1="{_x(left, read.low):.1f}" x2="{_x(left, read.high):.1f}"'
        parts += [
            f'<line {ends} y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-opacity="0.4"/>',
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">',
            f"<title>{_text(one.release.name)}</title></circle>",
            _words(x + 5, y - 5, one.strength),
        ]
    return parts


def _at(point: CurvePoint, left: int) -> tuple[float, float]:
    agreement = point.release.agreement
    return (
        _x(left, point.release.strongest.tokens.value),
        _y(0.0 if agreement is None else agreement.value),
    )


def _x(left: int, share: float) -> float:
    return left + _SIDE * share


def _y(share: float) -> float:
    return _TOP + _SIDE * (1.0 - share)


def _words(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(text)}</text>'


def _text(text: str) -> str:
    return escape(one_line(text))


def _place(curve: PrivacyCurve) -> str:
    return curve.points[0].release.place if curve.points else ""


def _release(curve: PrivacyCurve) -> str:
    """The text of the sweep without its place: one colour at every layer."""
    return curve.release.rpartition("@")[0].strip()
