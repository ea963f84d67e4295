"""Figures of releases: what is read against what use is left, and where in a prompt it is read."""

import math
from collections.abc import Sequence

from pytest_injectivity.core.numbers import show
from pytest_injectivity.reports.page.charts import Dot, Figure, HeatCell, HeatMap, Point, Scatter
from pytest_injectivity.reports.page.layers import Model, titled
from pytest_injectivity.reports.table import MISSING
from pytest_injectivity.results.releases import OVER_GUESSED, Rate, ReleaseSummary
from pytest_injectivity.results.verdict import Reason, Verdict

_LEVELS = 6
_MOST = 40  # releases in a figure; the tables have all

RELEASES_NOTE = (
    "Privacy and utility: worth having is top left, little read by the strongest of these attackers and"
    " much agreement left."
)


def release_figures(every: Sequence[Model], verdicts: Sequence[Verdict]) -> tuple[Figure, ...]:
    """For each model: a plot for each place, and a map over positions."""
    figures: list[Figure] = []
    for one in every:
        releases = [release for release in one.results.releases if release.attacks]
        for place in dict.fromkeys(release.place for release in releases):
            here = [release for release in releases if release.place == place]
            bounds = tuple(
                _bound(one, verdicts, check, {release.name for release in here})
                for check in ("not_recoverable", "utility_kept")
            )
            figures += _useful(one, every, place, here, bounds)
        figures += _positions(one, every, releases)
    return tuple(figures)


def _useful(
    one: Model,
    every: Sequence[Model],
    place: str,
    releases: Sequence[ReleaseSummary],
    bounds: Sequence[float | None],
) -> list[Scatter]:
    dots = tuple(
        Dot(
            release.release,
            _percent(release.strongest.tokens),
            _percent(release.agreement),
            (release.strongest.name, _kl(release)),
        )
        for release in releases[:_MOST]
        if release.agreement is not None
    )
    if not dots:
        return []
    title = titled(f"Privacy and utility at {_named(place)}", one, every)
    dashed = "" if set(bounds) == {None} else "; dashed: bounds"
    caption = f"The numbers are releases, which the table names. Bars: intervals{dashed}."
    caption += _first(len(releases))
    axes = ("% of tokens read", "% agreement")
    return [Scatter(title, caption, *axes, dots, ("strongest attacker", "KL"), *bounds)]


def _bound(one: Model, verdicts: Sequence[Verdict], check: str, names: set[str]) -> float | None:
    """The share that a check allowed these releases, in percent; None where it allowed several."""
    found = {
        100 * (reason.bound + (reason.figures["guessed"] if _is_excess(reason) else 0.0))
        for verdict in verdicts
        if verdict.check == check and verdict.model == one.label
        for reason in verdict.reasons
        if reason.where in names
    }
    return found.pop() if len(found) == 1 else None


def _is_excess(reason: Reason) -> bool:
    return reason.quantity.endswith(OVER_GUESSED)


def _positions(
    one: Model, every: Sequence[Model], releases: Sequence[ReleaseSummary]
) -> list[HeatMap]:
    known = [one for one in releases if one.strongest.by_position]
    shown = known[:_MOST]
    if not shown:
        return []
    positions = sorted({at for one in shown for at in one.strongest.by_position}, key=_place)
    cells = tuple(
        tuple(_cell(release.strongest.by_position.get(at)) for at in positions) for release in shown
    )
    title = titled("Tokens read by position", one, every)
    caption = (
        "Share of prompts whose token the strongest attacker of a release reads, from faint (none)"
        " to full (all). SipIt is among the attackers, by the verifiers ball and argmin."
    )
    caption += _first(len(known))
    names = tuple(release.name for release in shown)
    return [HeatMap(title, caption, "release", "position", names, tuple(positions), cells)]


def _first(number: int) -> str:
    """What is said where a figure has not all releases."""
    return f" The first {_MOST} of {number} releases." if number > _MOST else ""


def _named(place: str) -> str:
    """A place as a heading names it.

    >>> _named("4 keys"), _named("norm last")
    ('layer 4 keys', 'norm last')
    """
    return f"layer {place}" if place[:1].isdecimal() else place


def _cell(rate: Rate | None) -> HeatCell:
    if rate is None:
        return HeatCell(MISSING, None)
    return HeatCell(f"{100 * rate.value:.3g} %", math.ceil(_LEVELS * rate.value))


def _place(position: str) -> tuple[int, str]:
    return (int(position) if position.isdecimal() else -1), position


def _percent(rate: Rate | None) -> Point:
    if rate is None:
        return Point(None)
    return Point(100 * rate.value, 100 * rate.low, 100 * rate.high)


def _kl(release: ReleaseSummary) -> str:
    return MISSING if release.divergence is None else show(release.divergence, 3)
