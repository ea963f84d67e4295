from pytest_injectivity.reports.drawing import draw, printed, table_lines
from pytest_injectivity.reports.table import Cell, Column, Table, facts, worst_of

NUMBERS = Table(
    (Column("layer", number=False), Column("m")),
    ((Cell("layer01"), Cell("1.5")), (Cell("norm"), worst_of("20", worst=True))),
    notes=("what m is",),
    marks=True,
)


def test_numbers_stay_aligned_beside_a_mark() -> None:
    """A mark takes a column of its own; the notes follow."""
    assert ["layer       m", "layer01   1.5", "norm      20◄", "what m is"] == [
        line.rstrip() for line in table_lines(NUMBERS, 80, color=False)
    ]


def test_what_is_bad_is_coloured_where_there_are_colours() -> None:
    """The text is the same."""
    plain, coloured = (printed(draw(NUMBERS), 80, color=color) for color in (False, True))
    assert "\x1b[1;31m 20◄" in coloured[2]
    assert "\x1b" not in "".join(plain)


def test_only_the_worst_is_marked() -> None:
    """By a character and a tone."""
    assert (Cell("1", "◄", "bad"), Cell("1")) == (
        worst_of("1", worst=True),
        worst_of("1", worst=False),
    )


def test_facts_have_no_headings() -> None:
    """Names on the left."""
    table = facts([("model", "m"), ("", "[red]")])
    assert ["model  m", "       [red]"] == [
        line.rstrip() for line in printed(draw(table), 80, color=False)
    ]
