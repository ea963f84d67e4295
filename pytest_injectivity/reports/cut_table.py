"""The table of cuts: what is quoted of each depth and wire dtype beside what is read."""

from collections.abc import Sequence

from pytest_injectivity.reports.table import MISSING, Cell, Column, Table
from pytest_injectivity.results.releases import FIXED_TOLERANCE, Rate, ReleaseSummary

_LEGEND = (
    "% of tokens read of states sent across a cut: by the published algorithm at a fixed tolerance of"
    " {eps:g} / by the strongest attacker here, told the true tokens before; guessed: by the model"
    " alone, without any state"
)


def cut_table(releases: Sequence[ReleaseSummary]) -> Table | None:
    """A row a cut and a column a wire dtype; None where no two cuts were sent in such a dtype.

    Args:
        releases: in the order they were measured.
    """
    sent = [one for one in releases if one.fixed_ball is not None and _wire(one)]
    cuts = list(dict.fromkeys(one.place for one in sent))
    if len(cuts) < 2:  # noqa: PLR2004 - one cut has no depth
        return None
    wires = list(dict.fromkeys(map(_wire, sent)))
    by_cut = {(one.place, _wire(one)): one for one in sent}
    columns = (
        Column("cut", number=False),
        *(Column(wire, number=True) for wire in wires),
        Column("guessed", number=True),
    )
    rows = tuple(
        (
            Cell(cut),
            *(Cell(_read(by_cut.get((cut, wire)))) for wire in wires),
            Cell(_percent(next(one.guessed for one in sent if one.place == cut))),
        )
        for cut in cuts
    )
    return Table(columns, rows, notes=(_LEGEND.format(eps=FIXED_TOLERANCE),))


def _wire(one: ReleaseSummary) -> str:
    """The dtype that states are sent in; empty for other releases and for caches."""
    if not (one.place == "norm" or one.place.isdecimal()):
        return ""
    if one.release == "identity":
        return "as they are"
    alone = one.release.startswith("cast(dtype=") and "|" not in one.release
    return one.release.removeprefix("cast(dtype=").removesuffix(")") if alone else ""


def _read(one: ReleaseSummary | None) -> str:
    if one is None or one.fixed_ball is None:
        return MISSING
    return f"{_percent(one.fixed_ball.tokens)} / {_percent(one.strongest.tokens)}"


def _percent(rate: Rate | None) -> str:
    return MISSING if rate is None else f"{100 * rate.value:.3g}"
