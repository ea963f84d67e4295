from dataclasses import replace

from pytest_injectivity.reports.terminal import summary_lines
from pytest_injectivity.results.releases import Excess, Rate, ReleaseSummary
from pytest_injectivity.results.run_results import RunResults
from tests.results.test_releases import ATTACK, SUMMARY
from tests.results.test_summary import RUN


def _lines(*releases: ReleaseSummary) -> list[str]:
    return summary_lines(RunResults(run=RUN, releases=releases), 200, color=False)


def test_a_release_has_a_row() -> None:
    """What the strongest attacker read, how sure that is, who it was, and what is left."""
    (row,) = [line for line in _lines(SUMMARY) if line.startswith("round(bits=4)")]
    assert "4 20 30 % [25, 35] 0/50 argmin, teacher-forced 21.1 % – 90 % 0.02 1.5x" in " ".join(
        row.split()
    )


def test_what_is_read_over_the_guess_has_a_column() -> None:
    """In points, of the strongest attacker."""
    more = replace(ATTACK, excess=Excess(0.09, 0.05, 0.12))
    (row,) = [
        line for line in _lines(replace(SUMMARY, attacks=(more,))) if line.startswith("round")
    ]
    assert "teacher-forced 21.1 % +9 90 % 0.02" in " ".join(row.split())


def test_the_words_are_explained_and_nothing_is_called_private() -> None:
    """The attackers are named: what they do not read another one may."""
    weaker = replace(ATTACK, attacker="ball", tokens=Rate(0, 1000, 0.0, 0.07))
    text = " ".join(" ".join(_lines(replace(SUMMARY, attacks=(ATTACK, weaker)))).split())
    assert 'Little read is "not broken by these attackers": argmin, ball' in text
    assert "private" not in text


def test_what_was_not_measured_is_a_dash() -> None:
    """No utility, no guess, no attacker."""
    bare = replace(SUMMARY, agreement=None, divergence=None, guessed=None, perplexity_ratio=None)
    (row,) = [line for line in _lines(bare) if line.startswith("round(bits=4)")]
    assert row.split()[-5:] == ["–"] * 5
    (row,) = [line for line in _lines(replace(bare, attacks=())) if line.startswith("round")]
    assert ["20", *["–"] * 9] == row.split()[2:]


def test_without_releases_there_is_no_table() -> None:
    """As before."""
    assert not any("teacher-forced" in line for line in _lines())
