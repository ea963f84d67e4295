"""Tests of the records of tables in text."""

import csv
from pathlib import Path

from tests.prompts.files.support import read, written


def test_cells_of_20_mb(tmp_path: Path) -> None:
    """A cell longer than the csv module's usual limit is read, and the limit is left as it was."""
    before, cell = csv.field_size_limit(), "a b " * 5_000_000

    assert [cell, "c"] == read(written(tmp_path / "a.csv", f"text,n\n{cell},1\nc,2\n"))
    assert before == csv.field_size_limit()
