from dataclasses import replace

from pytest_injectivity.reports.attack_table import attack_table
from pytest_injectivity.results.attack_metrics import TextMatch
from pytest_injectivity.results.releases import Rate
from tests.results.test_releases import ATTACK, RANKS, SUMMARY

WEAK = replace(ATTACK, attacker="ball", tokens=Rate(10, 1000, 0.0, 0.1), ranks=None)


def test_a_row_an_attacker_the_strongest_first() -> None:
    """Everything that is said of its answers."""
    table = attack_table([replace(SUMMARY, attacks=(WEAK, ATTACK))])
    rows = [[cell.text for cell in row] for row in table.rows]
    assert ["argmin, teacher-forced", "ball, teacher-forced"] == [row[3] for row in rows]
    named = dict(zip([column.title for column in table.columns], rows[0], strict=True))
    expected = {"ROUGE-L": "0.42", "BLEU-4": "0.20", "in 10": "60 %", "guesses": "12.5"}
    assert expected | {"bits": "2.5/7.0", "tokens": "20", "read": "30 %"} == {
        title: named[title] for title in (*expected, "bits", "tokens", "read")
    }
    assert ["–"] * 4 == rows[1][-4:]


def test_what_a_pruned_search_does_not_know_is_a_lower_bound() -> None:
    """And a bound below nothing is nothing."""
    bare = replace(ATTACK, ranks=replace(RANKS, at_least=True, bits=-0.2), texts=None)
    (row,) = attack_table([replace(SUMMARY, attacks=(bare,))]).rows
    assert [">= 12.5", "0.0/7.0"] == [cell.text for cell in row[-2:]]
    assert ["–", "–"] == [cell.text for cell in row[7:9]]


def test_what_is_missing_is_named_once() -> None:
    """With what to install."""
    texts = TextMatch(0.5, None, "not measured: install pytest-injectivity[text-metrics]")
    some = replace(SUMMARY, attacks=(replace(ATTACK, texts=texts), replace(WEAK, texts=texts)))
    (note,) = [one for one in attack_table([some]).notes if one.startswith("BLEU-4 ")]
    assert "BLEU-4 not measured: install pytest-injectivity[text-metrics]" == note
