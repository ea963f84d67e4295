"""The table of releases: who read what from each, and what use is left."""

from collections.abc import Sequence

from pytest_injectivity.core.numbers import show
from pytest_injectivity.reports.table import MISSING, Cell, Column, Table
from pytest_injectivity.results.releases import Rate, ReleaseSummary

_WORDS = ("release", "at", "by")
_TITLES = (
    *("release", "at", "tokens", "read", "", "prompts", "by", "guessed", "over"),
    *("agreement", "KL", "perplexity"),
)
_LEGEND = (
    "tokens: of a prompt; read: share of tokens, and prompts whole, by the strongest attacker, intervals"
    " at {level:g} % clustered by prompt; teacher-forced: told the true tokens before; guessed: by the"
    " model alone, without any state; over: points read over what is guessed of the same prompts;"
    " agreement, KL: next token of the pass that goes on; perplexity: of the prompts' own next tokens"
    ' there, over the unreleased one. Little read is "not broken by these attackers": {attackers}'
)


def release_table(releases: Sequence[ReleaseSummary]) -> Table:
    """One row a release, in the order they were measured.

    Args:
        releases: at least one.
    """
    names = dict.fromkeys(attack.attacker for one in releases for attack in one.attacks)
    legend = _LEGEND.format(level=100 * releases[0].confidence, attackers=", ".join(names))
    columns = tuple(Column(title, number=title not in _WORDS) for title in _TITLES)
    rows = tuple(tuple(Cell(text) for text in _row(one)) for one in releases)
    return Table(columns, rows, notes=(legend,))


def _row(one: ReleaseSummary) -> tuple[str, ...]:
    if not one.attacks:
        return one.release, one.place, str(one.tokens), *((len(_TITLES) - 3) * (MISSING,))
    strongest = one.strongest
    return (
        one.release,
        one.place,
        str(one.tokens),
        _percent(strongest.tokens),
        f"[{100 * strongest.tokens.low:.3g}, {100 * strongest.tokens.high:.3g}]",
        f"{strongest.whole.right}/{strongest.whole.of}",
        strongest.name,
        _percent(one.guessed),
        MISSING if strongest.excess is None else f"{100 * strongest.excess.value:+.3g}",
        _percent(one.agreement),
        MISSING if one.divergence is None else show(one.divergence, 3),
        MISSING if one.perplexity_ratio is None else f"{show(one.perplexity_ratio, 3)}x",
    )


def _percent(rate: Rate | None) -> str:
    return MISSING if rate is None else f"{100 * rate.value:.3g} %"
