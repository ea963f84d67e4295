"""Tables in Markdown, and work in processes of its own, for ``./dev bench real``."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

import torch
from machine import machine

from pytest_injectivity.models.quiet import hush

T = TypeVar("T")

# Every process imports this module before transformers, and torchao logs as it is imported.
hush()


def markdown(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, where: str | None = None
) -> str:
    """A table, and below it the day, the number of threads and the processor it was measured on.

    Args:
        title: says what was measured.
        columns: the first is text, the others are numbers.
        rows: a text for each column.
        where: the processor and its kernels; None: of this process.
    """
    lines = [
        f"### {title}",
        "",
        row_of(columns),
        row_of(["---", *["---:"] * (len(columns) - 1)]),
        *map(row_of, rows),
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {torch.get_num_threads()} threads, {where or machine()}",
    ]
    return "\n".join(lines)


def row_of(cells: Sequence[str]) -> str:
    """One line of a table."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def minutes(seconds: float) -> str:
    """A duration in minutes, or in seconds where it is short."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"  # noqa: PLR2004


def told(line: str) -> None:
    """Says what has been found so far: the work takes minutes."""
    print(f"… {line}", flush=True)


def alone(
    work: Callable[..., T], *arguments: object, environment: Mapping[str, str] | None = None
) -> T:
    """What a function returns in a fresh process, whose memory is its own.

    Args:
        work: a function of a module.
        arguments: what it is called with.
        environment: variables that the process has besides.

    Raises:
        RuntimeError: it did not return.
    """
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.SimpleQueue[T] = context.SimpleQueue()
    threads = torch.get_num_threads()
    process = context.Process(target=_answered, args=(work, arguments, threads, answer))
    with _surroundings(environment or {}):
        process.start()
    process.join()
    if process.exitcode or answer.empty():
        raise RuntimeError(f"{work.__name__} ended with {process.exitcode}")
    return answer.get()


@contextmanager
def _surroundings(added: Mapping[str, str]) -> Iterator[None]:
    """Adds variables to the environment for as long as a process starts."""
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _answered(
    work: Callable[..., T],
    arguments: Sequence[object],
    threads: int,
    answer: "multiprocessing.SimpleQueue[T]",
) -> None:
    torch.set_num_threads(threads)
    answer.put(work(*arguments))
