"""What the benchmarks share: arguments, times of alternating runs, and tables."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from machine import machine
from rich.console import Console
from rich.table import Table

CONSOLE = Console(width=140)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(works: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """The median time of each, runs alternating."""
    taken = [[seconds(work) for work in works] for _ in range(runs)]
    return [statistics.median(times) for times in zip(*taken, strict=True)]


def attacked(doc: str, *, prompts: int = 50, tokens: int = 6) -> argparse.ArgumentParser:
    """The arguments of a benchmark of attacks: the models, and how much is attacked."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--prompts", type=int, default=prompts)
    parser.add_argument("--tokens", type=int, default=tokens)
    return parser


def attacked_title(model: Path, given: argparse.Namespace) -> str:
    """How the title of a table of attacks begins: the model, and how much of it is attacked."""
    return f"{model.name}, {given.prompts} prompts of {given.tokens} tokens"


def four_cuts(n_layers: int) -> list[int]:
    """Cuts from the first block to the last; fewer than four of a model of fewer blocks."""
    return sorted({1 + at * (n_layers - 1) // 3 for at in range(4)})


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table and the machine it was measured on; the first column is text."""
    title = f"{title} ({torch.get_num_threads()} threads)"
    shown = Table(title=title, title_justify="left", caption=machine(), caption_justify="left")
    for at, column in enumerate(columns):
        shown.add_column(column, justify="right" if at else "left")
    for row in rows:
        shown.add_row(*row)
    CONSOLE.print(shown)
