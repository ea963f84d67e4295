"""Extracts docstrings and functions from the running Python's standard library, as prompts.

An audit needs prompts that people could have written, without a download. Every machine that runs
pytest has some ten megabytes of English and code: the standard library's own sources. They are read as
files and parsed with `ast`; nothing is imported, so reading them has no side effects.

A text is either a docstring or a code window (a whole function or method). Tests, generated tables and
what depends on the machine and not on the version of Python (site-packages, build settings) are left
out, so that two machines with the same Python have the same texts. A file that is there and cannot be
read is an error: without it this machine's texts would silently be others than everybody else's.
"""

import ast
import functools
import hashlib
import os
import sys
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_injectivity.errors import PromptError

CHARACTERS = (30, 1500)  # shortest and longest text: a sentence, and about a screenful
WINDOW_LINES = (3, 30)  # a shorter function says nothing, a longer one is past CHARACTERS anyway
DOCSTRING_WORDS = 5

# lib2to3's patterns are fixtures, encodings and pydoc_data are generated; idlelib and the demos are
# programs that many distributions leave out. What `sys.stdlib_module_names` does not list (test,
# site-packages, sitecustomize, the build's settings) is left out as well.
_SKIPPED_PACKAGES = frozenset({"encodings", "idlelib", "lib2to3", "pydoc_data", "turtledemo"})
_TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})

_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")  # where `ast` keeps statements

_Definition = ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | ast.ClassDef | _Definition


@functools.lru_cache(maxsize=1)
def stdlib_texts() -> tuple[str, ...]:
    """Docstrings and code windows of the running Python's standard library.

    Returns:
        Distinct texts of 30 to 1,500 characters in the order of the library's file names and, in a
        file, of lines: the same on every run and machine with the same library.

    Raises:
        PromptError: this Python has no standard library sources, or one cannot be read or parsed.
    """
    texts = (text for path, source in stdlib_sources() for text in texts_of(source, path))
    return tuple(dict.fromkeys(texts))


def stdlib_sources() -> tuple[tuple[str, str], ...]:
    """The standard library's modules as text, for training a model on them.

    Returns:
        Pairs of a module's path (relative to the library, with forward slashes on every system) and
        its source, sorted by path.

    Raises:
        PromptError: this Python has no standard library sources, or one cannot be read or is not UTF-8.
    """
    root = Path(sysconfig.get_path("stdlib"))
    sources = tuple(_sources_in(root))
    if not sources:
        raise PromptError(
            f"builtin:stdlib reads the standard library's sources, and {str(root)!r} holds none: "
            "this Python is stripped (an embedded or frozen distribution). Name a prompt file with "
            "--injx-prompts instead, or use a Python that carries its .py files."
        )
    return sources


def stdlib_state() -> str:
    """A hash of the names, sizes and times of the library's files on this machine.

    Raises:
        PromptError: a file or folder of the library cannot be read.
    """
    root = Path(sysconfig.get_path("stdlib"))
    with _readable(root):
        seen = sorted((str(file), *_state(file)) for file in _files_in(root))
    return hashlib.sha256(repr((sys.version, seen)).encode()).hexdigest()


def texts_of(source: str, path: str) -> Iterator[str]:
    """The docstrings and code windows of one module, in the order of its lines, not yet distinct.

    Args:
        source: the module's text.
        path: its name, for messages.

    Yields:
        Texts without the indentation that their place in the file gave them.

    Raises:
        PromptError: this Python cannot parse the module.
    """
    try:
        with warnings.catch_warnings():  # the user cannot mend the library's own escapes
            warnings.simplefilter("ignore")
            tree = ast.parse(source, path)
    except (SyntaxError, ValueError) as error:
        raise _refused(path, f"does not parse: {error}") from error
    lines = source.split("\n")
    for node in _documented(tree):
        for text in (_docstring(node), _window(node, lines)):
            if CHARACTERS[0] <= len(text) <= CHARACTERS[1]:
                yield text


def _sources_in(root: Path) -> Iterator[tuple[str, str]]:
    with _readable(root):
        files = {file.relative_to(root).as_posix(): file for file in _files_in(root)}
        for name in sorted(files):
            try:
                source = files[name].read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise _refused(str(files[name]), "is not UTF-8") from error
            yield name, source


@contextmanager
def _readable(root: Path) -> Iterator[None]:
    """Turns the error of a file that cannot be read into one that says what to do instead."""
    try:
        yield
    except OSError as error:
        raise _refused(str(error.filename or root), f"cannot be read: {error.strerror}") from error


def _refused(path: str, why: str) -> PromptError:
    return PromptError(
        f"builtin:stdlib reads the standard library's sources, and {path} {why}. Mend the file, or name"
        " a prompt file with --injx-prompts instead."
    )


def _files_in(root: Path) -> Iterator[Path]:
    # Package by package: site-packages stands beside them and may hold a hundred times more.
    for name in sys.stdlib_module_names - _SKIPPED_PACKAGES:
        if (module := root / f"{name}.py").is_file():
            yield module
        if (package := root / name).is_dir():
            yield from _modules_of(package)


def _modules_of(package: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error  # `Path.rglob` would pass over a folder that may not be read

    for folder, below, names in os.walk(package, onerror=refuse):
        below[:] = [name for name in below if name not in _TEST_FOLDERS]
        yield from (Path(folder) / name for name in names if name.endswith(".py"))


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _documented(tree: ast.AST) -> Iterator[_Documented]:
    """The module, classes and functions under any block, in the order of lines."""
    # Definitions stand in statement lists only; walking expressions too takes five times as long.
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Documented):
            yield node
        children = [child for field in _BLOCKS for child in getattr(node, field, ())]
        waiting.extend(reversed(children))


def _docstring(node: _Documented) -> str:
    text = ast.get_docstring(node) or ""
    return text if len(text.split()) >= DOCSTRING_WORDS else ""


def _window(node: _Documented, lines: list[str]) -> str:
    if not isinstance(node, _Definition):
        return ""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    last = node.end_lineno or node.lineno
    if not WINDOW_LINES[0] <= last - first + 1 <= WINDOW_LINES[1]:
        return ""
    text = textwrap.dedent("\n".join(lines[first - 1 : last]))
    # A string that reaches the margin holds the indentation; cut out, the rest would not parse.
    return "" if text[:1].isspace() else text
