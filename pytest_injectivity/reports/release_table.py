"""The table of releases: who read what from each, and what use is left."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from pytest_injectivity.core.numbers import show
from pytest_injectivity.results.releases import Rate, ReleaseSummary

_LEGEND = (
    "read: share of tokens, and prompts whole, by the strongest attacker, intervals at {level:g} %"
    " clustered by prompt; teacher-forced: told the true tokens before; guessed: by the model alone,"
    " without any state; agreement, KL: next token of the pass that goes on. Little read is"
    ' "not broken by these attackers": {attackers}'
)


def release_parts(releases: Sequence[ReleaseSummary]) -> list[Table | Text]:
    """The table, and what its words mean.

    Args:
        releases: at least one.
    """
    names = dict.fromkeys(attack.attacker for one in releases for attack in one.attacks)
    level = 100 * releases[0].confidence
    legend = _LEGEND.format(level=level, attackers=", ".join(names))
    return [release_table(releases), Text(legend, style="dim")]


def release_table(releases: Iterable[ReleaseSummary]) -> Table:
    """One row a release, in the order they were measured."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("release")
    table.add_column("at")
    for title in ("read", "", "prompts", "by", "guessed", "agreement", "KL"):
        table.add_column(title, justify="left" if title == "by" else "right")
    for one in releases:
        if not one.attacks:
            table.add_row(one.release, one.place, *(7 * ["–"]))
            continue
        strongest = one.strongest
        table.add_row(
            Text(one.release),
            Text(one.place),
            _percent(strongest.tokens),
            Text(f"[{100 * strongest.tokens.low:.3g}, {100 * strongest.tokens.high:.3g}]"),
            Text(f"{strongest.whole.right}/{strongest.whole.of}"),
            Text(strongest.name),
            _percent(one.guessed),
            _percent(one.agreement),
            Text("–" if one.divergence is None else show(one.divergence, 3)),
        )
    return table


def _percent(rate: Rate | None) -> Text:
    return Text("–" if rate is None else f"{100 * rate.value:.3g} %")
