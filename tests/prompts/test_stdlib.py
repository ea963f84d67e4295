"""The standard library as text: `pytest_injectivity.prompts.stdlib`."""

import ast
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts import stdlib
from pytest_injectivity.prompts.stdlib import stdlib_sources, stdlib_texts, texts_of

DOCSTRING = "Return whatever the caller gave, unchanged and in order."


@dataclasses.dataclass(frozen=True)
class Reading:
    """What another process saw when it read the library."""

    digest: str
    heavy_imports: tuple[str, ...]
    seconds: float


READ = """
import hashlib, json, sys, time
from pytest_injectivity.prompts.stdlib import stdlib_texts
started = time.process_time()
digest = hashlib.sha256(repr(stdlib_texts()).encode()).hexdigest()
heavy = sorted({"torch", "transformers", "numpy"} & set(sys.modules))
print(json.dumps([digest, heavy, time.process_time() - started]))
"""


def read(seed: str) -> Reading:
    """Reads the library in another process, without the annotation checks of the tests."""
    result = subprocess.run(  # noqa: S603 - our own interpreter, our own code
        [sys.executable, "-c", READ],
        env=os.environ | {"PYTHONHASHSEED": seed},
        cwd=Path(stdlib.__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    digest, heavy, seconds = json.loads(result.stdout)
    return Reading(digest, tuple(heavy), seconds)


@pytest.fixture(scope="module")
def reading() -> Reading:
    """A process with a hash seed of its own."""
    return read("1")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty standard library that the test may fill."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    return tmp_path


def texts_now() -> tuple[str, ...]:
    """`stdlib_texts()` past its cache, which belongs to the real library."""
    return stdlib_texts.__wrapped__()


def write(root: Path, name: str, content: str | bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


def function(name: str, docstring: str = DOCSTRING) -> str:
    return f'def {name}(value):\n    """{docstring}"""\n    return value\n'


@pytest.mark.slow
def test_ten_thousand_distinct_texts_of_the_length_promised() -> None:
    """There are at least 10,000 texts, distinct, of 30 to 1,500 characters."""
    texts = stdlib_texts()
    assert len(texts) >= 10_000
    assert len(set(texts)) == len(texts)
    assert {len(text) for text in texts} <= set(range(30, 1501))


def test_a_known_docstring_and_a_known_function_are_there() -> None:
    """`shlex.quote` is there as a window, and its docstring by itself."""
    source = (Path(sysconfig.get_path("stdlib")) / "shlex.py").read_text(encoding="utf-8")
    quote = next(n for n in ast.parse(source).body if getattr(n, "name", "") == "quote")
    assert {ast.get_source_segment(source, quote), ast.get_docstring(quote)} <= set(stdlib_texts())


def test_no_text_is_indented() -> None:
    """Every text starts at the margin."""
    assert [text for text in stdlib_texts() if text[0].isspace()] == []


@pytest.mark.slow
def test_the_texts_and_their_order_are_the_same_in_every_process(reading: Reading) -> None:
    """Neither hash seeds nor the order of a folder's entries decide anything."""
    assert hashlib.sha256(repr(stdlib_texts()).encode()).hexdigest() == reading.digest


def test_reading_imports_nothing_heavy(reading: Reading) -> None:
    """Prompts come without torch, transformers or numpy."""
    assert () == reading.heavy_imports


@pytest.mark.slow
def test_reading_takes_at_most_three_seconds(reading: Reading) -> None:
    """The better of two runs, in processor time, so that a busy machine does not fail the test."""
    assert min(reading.seconds, read("2").seconds) < 3


def test_sources_are_sorted_and_leave_out_what_is_not_the_library(library: Path) -> None:
    """Tests, generated tables, site-packages and build settings are not the library."""
    for name in (
        "zipfile.py",
        "email/__init__.py",
        "email/mime/text.py",
        "argparse.py",
        "test/test_os.py",
        "unittest/test/test_case.py",
        "site-packages/argparse.py",
        "encodings/cp1252.py",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
        "sitecustomize.py",
        "argparse.txt",
    ):
        write(library, name, f"# {name}\n")
    expected = ("argparse.py", "email/__init__.py", "email/mime/text.py", "zipfile.py")
    assert tuple((name, f"# {name}\n") for name in expected) == stdlib_sources()


def test_a_file_that_is_not_utf8_is_refused(library: Path) -> None:
    """By its name: without it this machine's prompts would be others than everybody else's."""
    write(library, "abc.py", function("kept"))
    write(library, "zipfile.py", '"""Caf\xe9 au lait, five words long."""\n'.encode("latin-1"))
    with pytest.raises(PromptError, match=r"zipfile\.py is not UTF-8\. Mend the file, or name"):
        stdlib_sources()


@pytest.mark.parametrize("broken", ["def broken(:\n", "nul = '\0'\n"])
def test_a_file_that_does_not_parse_is_refused(library: Path, broken: str) -> None:
    """By its name, with the parser's reason."""
    write(library, "abc.py", function("kept"))
    write(library, "bisect.py", broken)
    with pytest.raises(PromptError, match=r"bisect\.py does not parse: "):
        texts_now()


@pytest.mark.parametrize("read", [stdlib_sources, stdlib.stdlib_state])
def test_a_link_to_nowhere_is_refused(library: Path, read: Callable[[], object]) -> None:
    """A package's file that is named and not there."""
    write(library, "email/__init__.py", function("kept"))
    (library / "email" / "charset.py").symlink_to(library / "nowhere")
    with pytest.raises(PromptError, match=r"charset\.py cannot be read: No such file"):
        read()


@pytest.mark.parametrize("read", [stdlib_sources, stdlib.stdlib_state])
def test_a_folder_that_may_not_be_read_is_refused(
    library: Path, read: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its modules are not left out in silence."""
    write(library, "email/__init__.py", function("kept"))

    # Not by the folder's mode: tests may run as root, who may read all.
    def denied(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(PromptError, match="email cannot be read: Permission denied"):
        read()


def test_equal_texts_of_two_files_are_one_text(library: Path) -> None:
    """The same docstring in two modules is one prompt, at its first place."""
    write(library, "abc.py", function("first"))
    write(library, "zipfile.py", function("second"))
    expected = (DOCSTRING, function("first").rstrip("\n"), function("second").rstrip("\n"))
    assert expected == texts_now()


def test_no_sources_is_an_error_that_names_the_place(library: Path) -> None:
    """A stripped Python says which folder was read and what to do instead."""
    with pytest.raises(PromptError, match="holds none") as caught:
        texts_now()
    assert repr(str(library)) in str(caught.value)
    assert "--injx-prompts" in str(caught.value)


def test_a_method_loses_its_place_and_keeps_its_decorators() -> None:
    """A window starts at the first decorator, without the class's indentation."""
    source = (
        "class A:\n    @property\n    @cache\n    def value(self):\n"
        "        if self.known:\n            return 1\n        return 2\n"
    )
    expected = (
        "@property\n@cache\ndef value(self):\n    if self.known:\n        return 1\n    return 2"
    )
    assert [expected] == list(texts_of(source, "a.py"))


def test_a_function_whose_strings_reach_the_margin_is_no_window() -> None:
    """Its indentation cannot be taken away without changing what the string says."""
    source = 'class A:\n    def f(self):\n        """\nAt the margin."""\n        return 1\n'
    assert list(texts_of(source, "a.py")) == []


@pytest.mark.parametrize("block", ["if x:", "for x in y:", "with x:", "async def f():", "class A:"])
def test_functions_inside_blocks_are_found(block: str) -> None:
    """A definition under any statement is a window."""
    inner = function("inner").rstrip("\n")
    source = block + "\n" + "\n".join("    " + line for line in inner.split("\n"))
    assert inner in set(texts_of(source, "a.py"))


@pytest.mark.parametrize(
    "block",
    [
        "try:\n    pass\nexcept E:\n{}",
        "try:\n    pass\nfinally:\n{}",
        "if x:\n    pass\nelif y:\n{}",
        "if x:\n    pass\nelse:\n{}",
        "match x:\n  case 1:\n{}",
    ],
)
def test_functions_inside_later_branches_are_found(block: str) -> None:
    """Handlers, else, finally and case are searched as bodies are."""
    inner = function("inner").rstrip("\n")
    indented = "\n".join("    " + line for line in inner.split("\n"))
    assert inner in set(texts_of(block.format(indented), "a.py"))


@pytest.mark.parametrize(("lines", "found"), [(2, 0), (3, 1), (30, 1), (31, 0)])
def test_windows_have_3_to_30_lines(lines: int, found: int) -> None:
    """The line limits are inclusive and count the whole function."""
    source = "def function():\n" + "\n".join(["    value = 123456789"] * (lines - 1))
    assert len(list(texts_of(source, "a.py"))) == found


@pytest.mark.parametrize(("length", "found"), [(29, 0), (30, 1), (1500, 1), (1501, 0)])
def test_texts_have_30_to_1500_characters(length: int, found: int) -> None:
    """The character limits are inclusive."""
    docstring = ("a b c d e " * 151)[: length - 1] + "."
    assert len(list(texts_of(f'"""{docstring}"""', "a.py"))) == found


def test_a_docstring_of_four_words_is_none() -> None:
    """What is not a sentence is not a prompt, however long its words."""
    assert list(texts_of(f'"""{"word" * 20} b c d"""', "a.py")) == []


@given(st.text())
def test_any_source_is_read_or_refused(source: str) -> None:
    """Whatever a file holds, its texts keep the limits, or the error names the file."""
    texts, refused = [], ""
    try:
        texts = list(texts_of(source, "a.py"))
    except PromptError as error:
        refused = str(error)
    assert [] == [text for text in texts if not 30 <= len(text) <= 1500]
    assert refused == "" or "a.py does not parse" in refused


def test_the_state_is_another_wherever_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed, added; and the same where nothing was."""
    monkeypatch.setattr(stdlib.sysconfig, "get_path", lambda _name: str(tmp_path))
    (tmp_path / "ast.py").write_text("one = 1\n")
    seen = [stdlib.stdlib_state(), stdlib.stdlib_state()]
    (tmp_path / "ast.py").write_text("two = 22\n")
    seen.append(stdlib.stdlib_state())
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "decoder.py").write_text("")
    seen.append(stdlib.stdlib_state())
    assert seen[0] == seen[1]
    assert 3 == len(set(seen))
