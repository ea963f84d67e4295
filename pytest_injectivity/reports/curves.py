"""The privacy-utility curves as an SVG picture, drawn by matplotlib (the extra ``plots``).

One panel shows one place where states are released. The horizontal axis is the share of tokens that the
strongest attacker reads, with its interval as a bar through each point; the vertical axis is the share
of next tokens on which the receiver still agrees. A release worth having lies in the shaded corner top
left, where at most the allowed rate is read and at least the wanted agreement is left.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.text import one_line
from pytest_injectivity.reports.svg import color, svg
from pytest_injectivity.results.releases import CurvePoint, PrivacyCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = 3.4  # inches


def write_picture(path: str | Path, curves: Sequence[PrivacyCurve]) -> None:
    """Write the picture, whole or not at all.

    Args:
        path: of the file; its folder is made.
        curves: at least one; points without a utility or an attacker are left out.

    Raises:
        MissingExtra: matplotlib is not installed.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "curves.svg"
        >>> curve = PrivacyCurve(
        ...     "gaussian(sigma=? rel)@4",
        ...     "my model",
        ...     max_token_rate=0.1,
        ...     min_agreement=0.9,
        ...     confidence=0.95,
        ...     points=(),  # of `Audit.sweep`
        ... )
        >>> write_picture(path, [curve])
        >>> path.read_text().startswith("<?xml")
        True
    """
    write_whole(path, picture(curves))


def picture(curves: Sequence[PrivacyCurve]) -> str:
    """The picture as SVG text.

    The curve of the ``j``-th release in the ``i``-th panel is the group ``curve-i-j``, its intervals
    ``intervals-i-j``; the corner of a panel is ``corner-i``, its frame ``frame-i``.

    Args:
        curves: at least one; points without a utility or an attacker are left out.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    return svg(lambda: _figure(curves), "curves")


def _figure(curves: Sequence[PrivacyCurve]) -> "Figure":
    from matplotlib.figure import Figure

    places = list(dict.fromkeys(_place(curve) for curve in curves))
    releases = list(dict.fromkeys(_release(curve) for curve in curves))
    height = _PANEL + 0.8 + 0.2 * len(releases)
    figure = Figure(figsize=(_PANEL * len(places) + 0.6, height), layout="constrained")
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for at, (place, axes) in enumerate(zip(places, panels, strict=True)):
        here = [curve for curve in curves if _place(curve) == place]
        _draw_panel(axes, place, here[0], at)
        for curve in here:
            _draw_curve(axes, curve, at, releases.index(_release(curve)))
    panels[0].set_ylabel("% next-token agreement")
    handles = [panels[0].plot([], [], "o-", color=color(at))[0] for at in range(len(releases))]
    names = [_text(release) for release in releases]
    figure.legend(handles, names, loc="outside lower left", frameon=False)
    figure.suptitle(_text(curves[0].subject), fontsize=9)
    return figure


def _draw_panel(axes: "Axes", place: str, curve: PrivacyCurve, at: int) -> None:
    """Axes in percent, and the corner where both bounds hold."""
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="% of tokens read", title=f"layer {_text(place)}")
    axes.set_aspect("equal")
    axes.patch.set_gid(f"frame-{at}")
    right, below = 100 * curve.max_token_rate, 100 * curve.min_agreement
    corners = [0, right, right, 0], [below, below, 100, 100]
    (corner,) = axes.fill(*corners, color="#e8f2e8", zorder=0)
    corner.set_gid(f"corner-{at}")


def _draw_curve(axes: "Axes", curve: PrivacyCurve, at: int, release: int) -> None:
    drawn = [
        (one, *_at(one)) for one in curve.points if one.release.agreement and one.release.attacks
    ]
    shade, name = color(release), f"{at}-{release}"
    right, up = [x for _, x, _ in drawn], [y for _, _, y in drawn]
    (line,) = axes.plot(right, up, "o-", color=shade, markersize=4, linewidth=1, clip_on=False)
    line.set_gid(f"curve-{name}")
    read = [one.release.strongest.tokens for one, _, _ in drawn]
    lows, highs = [100 * one.low for one in read], [100 * one.high for one in read]
    axes.hlines(up, lows, highs, color=shade, alpha=0.4).set_gid(f"intervals-{name}")
    for one, x, y in drawn:
        axes.annotate(_text(one.strength), (x, y), (4, 4), textcoords="offset points")


def _at(point: CurvePoint) -> tuple[float, float]:
    agreement = point.release.agreement
    left = 0.0 if agreement is None else agreement.value
    return 100 * point.release.strongest.tokens.value, 100 * left


def _text(text: str) -> str:
    return one_line(text)


def _place(curve: PrivacyCurve) -> str:
    return curve.points[0].release.place if curve.points else ""


def _release(curve: PrivacyCurve) -> str:
    """The text of the sweep without its place: one color at every layer."""
    return curve.release.rpartition("@")[0].strip()
