"""Tests of the reader of parquet tables."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from pytest_injectivity.errors import MissingExtra, PromptError
from pytest_injectivity.prompts.conversations import Conversation, Message
from pytest_injectivity.prompts.fields import FieldRule
from pytest_injectivity.prompts.files.reading import read_rows
from pytest_injectivity.prompts.rows import Content
from tests.prompts.files.support import read, written


def table(**columns: Any) -> Callable[[Path], object]:
    return lambda path: parquet.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (table(text=["one", "two"], n=[1, 2]), ["one", "two"]),
        (table(ids=[[1, 2], [3]]), [(1, 2), (3,)]),
        (table(question=["one"], score=[0.5]), ["one"]),
        (table(text=pa.array(["one"], pa.large_string())), ["one"]),
        (table(text=pa.array(["one", "one"]).dictionary_encode()), ["one", "one"]),
    ],
)
def test_parquet(tmp_path: Path, write: Callable[[Path], object], expected: list[Content]) -> None:
    """A parquet table gives the strings or the lists of ids of one column."""
    write(tmp_path / "a.parquet")

    assert expected == read(tmp_path / "a.parquet")


def test_parquet_of_messages(tmp_path: Path) -> None:
    """A column of lists of messages, and what stands beside it, is a conversation a row."""
    messages = [[{"role": "user", "content": "one"}], [{"role": "user", "content": "two"}]]
    told: list[str] = []
    columns = {"prompt_id": ["a1", "b2"], "messages": messages, "system": ["be", None]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")

    first, second = (
        row.content for row in read_rows(tmp_path / "a.parquet", FieldRule(), told.append)
    )

    assert isinstance(first, Conversation)
    assert isinstance(second, Conversation)
    assert [("system", "be"), ("user", "one")] == [
        (one.role, one.content) for one in first.messages
    ]
    assert (Message("user", "two"),) == second.messages
    assert ["prompts from field 'messages' of 3"] == told


def test_parquet_is_read_in_batches(tmp_path: Path) -> None:
    """A table of several batches and row groups comes whole and in order."""
    texts = [f"text {i}" for i in range(2500)]
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=700)

    assert texts == read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (table(text=["one", None]), "row 1, field 'text': holds None"),
        (table(ids=[[1, None]]), "row 0, field 'ids': entry 1 is None"),
        (table(n=[1]), "0 hold a string; name one of 'n'"),
    ],
)
def test_bad_parquet(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    """A null or a table without a prompt column is refused with its place."""
    write(tmp_path / "a.parquet")

    with pytest.raises(PromptError, match=message):
        read(tmp_path / "a.parquet")


def test_missing_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow a parquet file is refused with the extra that brings it."""
    path = written(tmp_path / "a.parquet", b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(MissingExtra, match=r'pip install "pytest-injectivity\[parquet\]"'):
        read(path)
