"""Tests of the readers of prompt files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from pytest_injectivity.errors import InjectivityError, OptionError, PromptError
from pytest_injectivity.prompts.conversations import Conversation
from pytest_injectivity.prompts.fields import FieldRule
from pytest_injectivity.prompts.files.reading import read_rows
from pytest_injectivity.prompts.rows import Content
from tests.prompts.files.support import read, written


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "one\ntwo\n", ["one", "two"]),
        ("a.txt", "one\ntwo", ["one", "two"]),
        ("a.txt", "one\r\ntwo\r\n", ["one", "two"]),
        (
            "a.txt",
            " one \n\ttwo\r\r\n\nthree\x0b\x85\u2028",
            [" one ", "\ttwo\r", "", "three\x0b\x85\u2028"],
        ),
        ("a.txt", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", ["one", "\ufefftwo"]),
        ("A.TXT", "one\n", ["one"]),
        ("a.jsonl", '{"text": "one"}\n\n  \n{"text": "two\\n"}\n', ["one", "two\n"]),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n', ["one", "two"]),
        ("a.jsonl", '"one"\n"two"\n', ["one", "two"]),
        ("a.jsonl", '{"prompt": "one", "other": "x"}\n', ["one"]),
        ("a.jsonl", '{"prompt": "one", "text": "two"}\n', ["two"]),
        ("a.jsonl", '{"n": 1, "question": "one"}\n', ["one"]),
        ("a.jsonl", '{"ids": [1, 2]}\n{"ids": []}\n', [(1, 2), ()]),
        ("a.jsonl", '{"ids": [1, 2], "text": "one"}\n', ["one"]),
        ("a.jsonl", '{"text": "\\ud83d\\ude00"}\n', ["😀"]),
        ("a.json", '["one", "two"]', ["one", "two"]),
        ("a.json", '[{"text": "one"},\n {"text": "two"}]', ["one", "two"]),
        ("a.json", "[]", []),
        ("a.csv", "text,label\none,1\ntwo,2\n", ["one", "two"]),
        ("a.csv", 'id,prompt\r\n1,"a ""b"", c\nd"\r\n\r\n2,e\r\n', ['a "b", c\nd', "e"]),
        ("a.csv", b"\xef\xbb\xbfquestion\none\n", ["one"]),
    ],
)
def test_formats(tmp_path: Path, name: str, content: str | bytes, expected: list[Content]) -> None:
    """Every text format gives its prompts in order, unchanged but for newlines between them."""
    assert expected == read(written(tmp_path / name, content))


@given(
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text('ab1 ,;\t"\n', max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["id", "text", "messages", "role", "content", "from", "value", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_any_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: object
) -> None:
    """Nothing but this package's own errors comes of any value."""
    path = tmp_path_factory.mktemp("any") / name
    path.write_text(json.dumps([value] if name == "a.json" else value))

    try:
        contents = read(path)
    except InjectivityError as error:
        contents = []
        assert "\n" not in str(error)  # noqa: PT017 - either is right
    assert all(isinstance(one, str | tuple | Conversation) for one in contents)


def test_folder_gives_one_prompt_a_file_by_name(tmp_path: Path) -> None:
    """A folder's .txt files are its prompts, whole and sorted by name; the rest is not read."""
    written(tmp_path / "b.txt", "second\n\n")
    written(tmp_path / "a.txt", b"\xef\xbb\xbffirst\r\nline")
    written(tmp_path / "notes.md", b"\xff")
    (tmp_path / "c.txt").mkdir()

    assert ["first\r\nline", "second\n\n"] == read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "no", "body": "yes"}\n'),
        ("a.json", '[{"text": "no", "body": "yes"}]'),
        ("a.csv", "text,body\nno,yes\n"),
    ],
)
def test_named_field(tmp_path: Path, name: str, content: str) -> None:
    """A field that is named is read, whatever the defaults are."""
    assert ["yes"] == read(written(tmp_path / name, content), "body")


def test_ids_are_preferred_without_a_tokenizer(tmp_path: Path) -> None:
    """Where text is of no use, rows that have both give their ids."""
    path = written(tmp_path / "a.jsonl", '{"text": "one", "ids": [1, 2]}\n')

    assert [(1, 2)] == read(path, prefer_ids=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.json", b"", "is empty"),
        ("a.parquet", b"", "is empty"),
        (
            "a.txt",
            b"g\xc3\xb6od\nb\xc3\xa9\xffd\n",
            r"line 2: not UTF-8: byte 0xff at offset 9 of the file",
        ),
        ("a.txt", b"\xef\xbb\xbfa\xff", r"line 1: not UTF-8: byte 0xff at offset 4 of the file"),
        ("a.jsonl", b'{"text": "\xff"}', "line 1: not UTF-8: byte 0xff at offset 10"),
        ("a.csv", b"text\none\n\xe9t\xe9\n", "line 3: not UTF-8: byte 0xe9 at offset 9"),
        ("a.jsonl", '"a"\n{"text": "one"\n', r"a.jsonl, line 2: not valid JSON: .* \(.*column"),
        ("a.json", '["a",\n "b"', r"a.json: not valid JSON: .*line 2, column"),
        ("a.jsonl", "1" * 5000, "line 1: not readable JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: not readable JSON"),
        ("a.jsonl", '"a"\n[1, 2]\n', r"line 2: the row is a list: give a string, an object"),
        ("a.jsonl", "3\n", r"line 1: the row is 3 \(int\)"),
        ("a.jsonl", "null\n", r"line 1: the row is None \(NoneType\)"),
        ("a.json", '{"text": "a"}', "holds a dict: give a list"),
        ("a.jsonl", '{"text": 3}\n', r"line 1, field 'text': holds 3 \(int\): give a string"),
        ("a.jsonl", '{"text": null}\n', r"line 1, field 'text': holds None"),
        ("a.jsonl", '{"a": "x", "b": "y"}\n', "2 hold a string; name one of 'a', 'b' with"),
        ("a.jsonl", '{"a": 1}\n', "0 hold a string; name one of 'a' with --injx-prompt-field"),
        ("a.jsonl", "{}\n", "name one of none"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"body": "b"}\n',
            "line 2: there is no field 'text'; .* 'body'",
        ),
        ("a.jsonl", '{"text": "a\\ud800"}\n', r"character 1 is the lone surrogate U\+D800"),
        ("a.jsonl", '{"ids": [1, -2]}\n', r"field 'ids': entry 1 is -2 \(int\): token ids are"),
        ("a.jsonl", '{"ids": [1.0]}\n', r"entry 0 is 1.0 \(float\)"),
        ("a.jsonl", '{"ids": [true]}\n', r"entry 0 is True \(bool\)"),
        ("a.jsonl", '{"ids": ["1"]}\n', "entry 0 is a str"),
        ("a.jsonl", '{"ids": [[1]]}\n', "entry 0 is a list"),
        ("a.jsonl", '{"ids": [9223372036854775808]}\n', "entry 0 is 9223372036854775808"),
        ("a.jsonl", '{"ids": 7}\n', "field 'ids': holds 7"),
        ("a.csv", "a,input\n1,2\n", "line 1: which field holds the prompt"),
        ("a.csv", "a,a\n1,2\n", "header names a field twice: 'a', 'a'"),
        ("a.csv", "text,n\none\n", "line 2: the row has 1 cells, the header 2"),
        ("a.csv", "text\none,two\n", "line 2: the row has 2 cells, the header 1"),
        ("a.csv", 'text\n"one\n', "line 2: not valid CSV"),
        ("a.parquet", b"PAR1 no table PAR1", "a.parquet is not a readable parquet file"),
        ("a.pkl", b"x", "has the suffix '.pkl': give a .txt, .jsonl, .ndjson, .json, .csv, .tsv"),
        ("prompts", b"x", "has the suffix ''"),
    ],
)
def test_bad_content(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    """What cannot be read is refused in one paragraph with its place and what is accepted."""
    with pytest.raises(PromptError, match=message) as caught:
        read(written(tmp_path / name, content))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,n\none\n"),
        ("a.csv", 'text\n"one\n'),
        ("a.jsonl", '"one"\n{"text": 1}\n"two"\n'),
        ("a.jsonl", '"one"\n{\n"two"\n'),
        ("a.txt", b"one\n\xe9\n"),
    ],
)
def test_a_file_is_closed_once_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes
) -> None:
    """Whoever keeps the error, as pytest does, keeps no open file with it."""
    opened: list[Any] = []
    path, opens = written(tmp_path / name, content), Path.open

    def opening(self: Path, *how: Any) -> Any:
        opened.append(opens(self, *how))
        return opened[-1]

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(PromptError) as caught:
        read(path)
    assert caught.tb
    assert [True] == [one.closed for one in opened]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", '{"text": "one"}\n'), ("a.json", '[{"text": "one"}]'), ("a.csv", "text\none\n")],
)
def test_wrong_field_lists_the_fields(tmp_path: Path, name: str, content: str) -> None:
    """A field that is not there is refused, and the message lists those that are."""
    with pytest.raises(PromptError, match="no field 'body'; the fields are 'text'"):
        read(written(tmp_path / name, content), "body")


def test_wrong_field_of_plain_strings(tmp_path: Path) -> None:
    """A field named for rows that are strings is refused, not ignored."""
    with pytest.raises(PromptError, match="no field 'body': the row is a string"):
        read(written(tmp_path / "a.json", '["one"]'), "body")


@pytest.mark.parametrize("name", ["a.txt", "."])
def test_field_of_plain_text(tmp_path: Path, name: str) -> None:
    """A field named for plain text is refused, not ignored."""
    written(tmp_path / "a.txt", "one\n")

    with pytest.raises(OptionError, match="plain text without fields"):
        read(tmp_path / name, "body")


@pytest.mark.parametrize("name", ["none.txt", "no\0thing.txt", "/dev/null"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    """A file that is not there is refused with what is accepted, built-in sets among it."""
    with pytest.raises(PromptError, match=r"there is no prompt file .*\.parquet.*builtin:stdlib"):
        read(tmp_path / name)


def test_a_prompt_given_as_a_path(tmp_path: Path) -> None:
    """A text too long for a file's name is refused in its own words, without showing all of it."""
    with pytest.raises(PromptError, match="name no file") as caught:
        read(tmp_path / ("describe a situation " * 50))

    assert len(str(caught.value)) < 300


def test_folder_without_texts(tmp_path: Path) -> None:
    """A folder without .txt files is refused."""
    written(tmp_path / "a.md", "one")

    with pytest.raises(PromptError, match=r"holds no \.txt file"):
        read(tmp_path)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses to open is refused with the system's reason."""
    path = written(tmp_path / "a.txt", "one\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(PromptError, match=r"a\.txt cannot be read: Permission denied"):
        read(path)


def test_lines_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come before the file is read to its end, and it is opened once."""
    path = written(tmp_path / "a.jsonl", '"one"\n' * 3 + "broken\n")
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda *a, **k: opened.append(a) or original(*a, **k))

    rows = read_rows(path, FieldRule())

    assert ["one"] * 3 == [next(rows).content for _ in range(3)]
    with pytest.raises(InjectivityError):
        next(rows)
    assert 1 == len(opened)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading every format leaves the pickle module's loaders alone."""
    names = ("pickle.load", "pickle.loads", "builtins.eval", "builtins.exec")
    for name in names:
        monkeypatch.setattr(name, _forbidden)
    parquet.write_table(pa.table({"text": ["one"]}), tmp_path / "a.parquet")
    written(tmp_path / "a.json", json.dumps(["one"]))
    written(tmp_path / "a.csv", "text\none\n")

    assert [["one"]] * 3 == [
        read(tmp_path / f"a.{suffix}") for suffix in ("parquet", "json", "csv")
    ]


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("a loader that runs code was called")


def test_places_name_the_row(tmp_path: Path) -> None:
    """Each row knows its file and line, so that later errors can name it."""
    path = written(tmp_path / "a.jsonl", '"one"\n\n"two"\n')

    assert ["a.jsonl, line 1", "a.jsonl, line 3"] == [
        str(row.place) for row in read_rows(path, FieldRule())
    ]
