from dataclasses import replace

from pytest_injectivity.reports.cut_table import cut_table
from pytest_injectivity.results.releases import FIXED_BALL, Rate, ReleaseSummary
from tests.results.test_releases import ATTACK, SUMMARY


def _cut(release: str, place: str, quoted: float) -> ReleaseSummary:
    ball = replace(ATTACK, attacker=FIXED_BALL, tokens=Rate(int(1000 * quoted), 1000, 0.0, 1.0))
    most = replace(ATTACK, tokens=Rate(1000, 1000, 0.99, 1.0))
    return replace(SUMMARY, release=release, place=place, attacks=(ball, most))


CUTS = [
    _cut("identity", "1", 1.0),
    _cut("cast(dtype=bf16)", "1", 0.5),
    _cut("identity", "8", 0.25),
    _cut("cast(dtype=bf16)", "8", 0.0),
]


def _cells(releases: list[ReleaseSummary]) -> list[list[str]]:
    table = cut_table(releases)
    assert table is not None
    return [[column.title for column in table.columns]] + [
        [cell.text for cell in row] for row in table.rows
    ]


def test_a_cut_is_a_row_and_a_wire_a_column() -> None:
    """What is quoted, and behind it what is read."""
    head, *rows = _cells(CUTS)
    assert ["cut", "as they are", "bf16", "guessed"] == head
    assert [["1", "100 / 100", "50 / 100"], ["8", "25 / 100", "0 / 100"]] == [
        row[:3] for row in rows
    ]


def test_what_was_not_sent_there_is_a_dash() -> None:
    """Not every wire is asked for at every cut."""
    assert "–" == _cells(CUTS[:3])[2][2]


def test_one_cut_has_no_depth() -> None:
    """Nor have releases that are no wires, or of a cache."""
    assert cut_table(CUTS[:2]) is None
    assert cut_table([_cut("round(bits=4)", "1", 1.0), _cut("round(bits=4)", "8", 1.0)]) is None
    assert cut_table([_cut("identity", "1 kv", 1.0), _cut("identity", "8 kv", 1.0)]) is None
