"""Tests of finding the character between the cells of a table."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.files.delimiter import DELIMITERS, find_delimiter

CELLS = st.text("ab ,;|\t\"'\n", max_size=6)


@given(
    st.sampled_from(sorted(DELIMITERS)),
    st.integers(2, 5).flatmap(
        lambda width: st.lists(
            st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=40
        )
    ),
)
def test_the_delimiter_that_a_table_was_written_with(delimiter: str, rows: list[list[str]]) -> None:
    """Whatever stands in the cells, where the header names columns."""
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter).writerows(
        [[f"column{at}" for at in range(len(rows[0]))], *rows]
    )

    assert delimiter == find_delimiter(written.getvalue().splitlines(keepends=True), ",", "a.csv")


@pytest.mark.parametrize("usual", [",", "\t"])
def test_a_column_of_sentences_has_the_usual_delimiter(usual: str) -> None:
    """Delimiters in texts are none where the header has none."""
    head = ["text\n", "the cat; the dog\n", "one, two\n", "a | b\n"]

    assert usual == find_delimiter(head, usual, "a.csv")


def test_several_delimiters_are_refused() -> None:
    """Where header and rows are divided evenly by two that the name does not promise."""
    with pytest.raises(PromptError, match=r"^a\.csv: .* by semicolons or bars: use commas$"):
        find_delimiter(["a;b|c\n", "1;2|3\n"], ",", "a.csv")


def test_a_record_that_goes_on_after_the_head_is_no_evidence() -> None:
    """A cell of a thousand lines is not seen to its end."""
    assert ";" == find_delimiter(["id;text\n", '1;"two\n', "lines, and\n"], ",", "a.csv")
