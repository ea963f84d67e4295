"""The table of attackers: what each reads of each release, the weak beside the strong."""

from collections.abc import Sequence

from pytest_injectivity.core.numbers import show
from pytest_injectivity.reports.table import MISSING, Cell, Column, Table
from pytest_injectivity.results.releases import AttackSummary, RankSummary, ReleaseSummary

_WORDS = ("release", "at", "attacker")
_LEGEND = (
    "read: share of tokens, intervals at {level:g} % clustered by prompt; ROUGE-L, BLEU-4: of the text"
    " of all answers, at most 1; in {most}: share of tokens among so many first guesses; guesses: that a"
    " token takes on average, a lower bound where likely candidates alone were compared (>=); bits: a"
    " lower bound of what the attacker has of a token, of those that the tokens of these prompts have"
)


def attack_table(releases: Sequence[ReleaseSummary]) -> Table:
    """A row an attacker and release, those that read most first.

    Args:
        releases: at least one, in the order they were measured.
    """
    every = [one for release in releases for one in release.attacks]
    firsts = list(dict.fromkeys(most for one in every if one.ranks for most in one.ranks.first))
    titles = (
        *("release", "at", "tokens", "attacker", "read", "", "prompts", "ROUGE-L", "BLEU-4"),
        *(f"in {most}" for most in firsts),
        *("guesses", "bits"),
    )
    rows = tuple(
        tuple(map(Cell, (release.release, release.place, str(release.tokens), *_row(one, firsts))))
        for release in releases
        for one in sorted(release.attacks, key=lambda one: -one.tokens.value)
    )
    notes = [_LEGEND.format(level=100 * releases[0].confidence, most=" or ".join(firsts) or "…")]
    missing = dict.fromkeys(one.texts.no_bleu for one in every if one.texts and one.texts.no_bleu)
    notes += [f"BLEU-4 {why}" for why in missing]
    columns = tuple(Column(title, number=title not in _WORDS) for title in titles)
    return Table(columns, rows, notes=tuple(notes))


def _row(one: AttackSummary, firsts: Sequence[str]) -> tuple[str, ...]:
    read, texts, ranks = one.tokens, one.texts, one.ranks
    among = [None if ranks is None else ranks.first.get(most) for most in firsts]
    return (
        one.name,
        f"{100 * read.value:.3g} %",
        f"[{100 * read.low:.3g}, {100 * read.high:.3g}]",
        f"{one.whole.right}/{one.whole.of}",
        *(
            MISSING if share is None else f"{share:.2f}"
            for share in ((texts.rouge_l, texts.bleu) if texts else (None, None))
        ),
        *(MISSING if rate is None else f"{100 * rate.value:.3g} %" for rate in among),
        *((MISSING, MISSING) if ranks is None else (_guesses(ranks), _bits(ranks))),
    )


def _guesses(ranks: RankSummary) -> str:
    return f"{'>= ' * ranks.at_least}{show(ranks.guesses, 3)}"


def _bits(ranks: RankSummary) -> str:
    return f"{max(0.0, ranks.bits):.1f}/{ranks.entropy:.1f}"
