"""The Markdown report: what a reviewer reads in a pull request, worst news first.

GitHub shows what a step wrote to the file named by ``GITHUB_STEP_SUMMARY``, up to 1 MiB and nothing of
it beyond that. The report therefore is made of blocks whose rows may be left out from the end, and
says how many were. Texts from outside (a checkpoint's name, a layer's, a prompt's where it is shown)
become character references where they could be markup: a reference never is.
"""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.core import files
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.reports.layer_table import run_table, tables
from pytest_injectivity.reports.markup import cell_text, escaped, table_row
from pytest_injectivity.reports.table import Cell, Column, Table
from pytest_injectivity.results.outcome import NOT_ASSERTED, Outcome
from pytest_injectivity.results.verdict import Verdict, counted

if TYPE_CHECKING:
    from pytest_injectivity.results.run_results import ModelResults, RunResults

LIMIT = 1024 * 1024
"""Bytes of a step's summary that GitHub accepts; of a longer one it shows nothing."""

_COMMAND = 2000
_COMMANDS = 12
_LONG = 12  # rows; a longer table is folded away
_CUT_SIZE = 100  # bytes of a line that says what was cut
_OPENING = re.compile(r"[-+=]|\d+[.)]")  # of a list, a rule or the underline of a heading


@dataclass(frozen=True)
class Block:
    """A part of the report: lines around rows, of which the last may be left out.

    Attributes:
        before: what stands before the rows, with its line ends.
        rows: lines without their ends.
        after: what stands after them.
    """

    before: str
    rows: tuple[str, ...] = ()
    after: str = ""

    @property
    def frame(self) -> int:
        """Bytes it takes when all of its rows are left out."""
        return _size(self.before) + _size(self.after) + (_CUT_SIZE if self.rows else 0)


def write_report(path: Path, results: "RunResults") -> None:
    """Write the report: appended to the file of ``GITHUB_STEP_SUMMARY``, else whole or not at all.

    Args:
        path: of the file; to a step's summary others may have written before.
        results: what the tests found.

    Raises:
        OSError: the file cannot be written, or the step's summary is full.
    """
    if not _is_step_summary(path):
        files.write_whole(path, markdown(results))
        return
    written = path.read_bytes() if path.exists() else b""
    apart = "" if not written else "\n" if written.endswith(b"\n") else "\n\n"
    text = markdown(results, limit=LIMIT - len(written) - len(apart))
    if not text:
        why = f"the step's summary is full: it may have {LIMIT} bytes"
        raise OSError(errno.EFBIG, why, str(path))
    with path.open("a", encoding="utf-8") as file:
        file.write(apart + text)


def check_writable(path: Path) -> None:
    """Refuse a file that the report cannot be written to; a step's summary is left as it is.

    Raises:
        OSError: the file cannot be written.
    """
    if not _is_step_summary(path):
        files.check_writable(path)


def _is_step_summary(path: Path) -> bool:
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    return summary is not None and os.path.realpath(path) == os.path.realpath(summary)


def markdown(results: "RunResults", *, limit: int = LIMIT) -> str:
    """The report as Markdown (GitHub's, with tables) of at most ``limit`` bytes.

    Rows are cut from the end of each table and the report says how many; where not even the headline
    fits the text is empty.
    """
    red = [verdict for verdict in results.verdicts if not verdict.passed]
    blocks = [_headline(results)]
    if red:
        causes = tuple(dict.fromkeys(line for verdict in red for line in verdict.ahead))
        blocks.append(Block("\n" if causes else "", tuple(f"- {_prose(one)}" for one in causes)))
        blocks.append(_failures(red))
    for name, part in results.parts:
        if part.run is not None:
            blocks.append(_table(_titled("Audited", name), run_table(part.run, name)))
        blocks += _tables(part, name)
    blocks.append(_commands(red, results.outcome))
    if results.said:
        said = tuple(f"- {_prose(line)}" for line in results.said)
        blocks.append(Block("\n### Notes\n\n", said))
    return fitted(blocks, limit)


def fitted(blocks: Sequence[Block], limit: int) -> str:
    """The blocks in at most ``limit`` bytes of UTF-8: rows are left out, then whole blocks."""
    room = limit - _CUT_SIZE  # for the line that says how many blocks were left out
    kept: list[Block] = []
    for block in blocks:
        if block.frame > room:
            break
        room -= block.frame
        kept.append(block)
    text = []
    for block in kept:
        rows = list(_first(block.rows, room))
        room -= sum(_size(row) for row in rows)
        left = len(block.rows) - len(rows)
        cut = (
            f"\n… and {number_of(left, 'more row')}, cut to stay below the size limit.\n"
            if left
            else ""
        )
        text.append("".join([block.before, *rows, block.after, cut]))
    if kept and (left := len(blocks) - len(kept)):
        text.append(
            f"\n… and {number_of(left, 'more section')}, cut to stay below the size limit.\n"
        )
    return "".join(text)


def _first(rows: Sequence[str], room: int) -> Iterator[str]:
    """As many rows as there is room for, each with its line end."""
    for row in rows:
        room -= _size(row) + 1
        if room < 0:
            return
        yield f"{row}\n"


def _headline(results: "RunResults") -> Block:
    outcome = results.outcome or Outcome(0)
    mark = "❌" if outcome.red else "✅"
    lines = [f"## {mark} Injectivity audit {outcome.ended}: {counted(results.verdicts)}", ""]
    lines += [f"- {_prose(why)}" for why in outcome.why]
    if not (outcome.red or all(verdict.passed for verdict in results.verdicts)):
        lines.append(NOT_ASSERTED)
    return Block("\n".join(lines).rstrip("\n") + "\n")


def _failures(verdicts: Sequence[Verdict]) -> Block:
    """A row for each layer that is not PASS, in the order of the verdicts."""
    header = ("check", "layer", "result", "would have passed")
    rows = []
    for verdict in verdicts:
        rows += [
            (
                verdict.check,
                verdict.of_model(one.where),
                f"{one.status}: {one.summary}",
                one.would_pass,
            )
            for one in verdict.failing
        ]
        if not verdict.reasons:
            rows.append((verdict.check, verdict.model, verdict.first_line, ""))
    columns = tuple(Column(title, number=False) for title in header)
    return _table("Not passed", Table(columns, tuple(tuple(map(Cell, row)) for row in rows)))


def _tables(results: "ModelResults", name: str) -> Iterator[Block]:
    """The tables of the terminal, each with its notes; a long one is folded away."""
    for table in tables(results):
        title = _titled(table.title or "layers", name)
        yield _table(title, table, fold=len(table.rows) > _LONG)
        for note in table.notes:
            yield Block(f"\n{_prose(note)}\n")


def _commands(red: Sequence[Verdict], outcome: Outcome | None) -> Block:
    """The commands that repeat what is red, or the run."""
    commands = list(dict.fromkeys(verdict.reproduce for verdict in red))[:_COMMANDS]
    again = "pytest" if outcome is None else outcome.command
    # Each begins with "pytest" and is one line: none can end the block.
    shown = [one_line(command, _COMMAND) for command in commands or [again]]
    return Block("\n### Reproduce\n\n```\n", tuple(shown), "```\n")


def _table(title: str, table: Table, *, fold: bool = False) -> Block:
    """A table under a title; what is bad or good is bold.

    Args:
        title: of the table.
        table: what is drawn.
        fold: whether the rows are shown on a click only.
    """
    title = escaped(title[:1].upper() + title[1:])
    if fold:
        before = f"\n<details><summary>{title} ({number_of(len(table.rows), 'row')})</summary>\n\n"
    else:
        before = f"\n### {title}\n\n"
    aligned = ["--:" if column.number else "---" for column in table.columns]
    before += (
        f"{table_row(cell_text(column.title) for column in table.columns)}\n{table_row(aligned)}\n"
    )
    rows = tuple(table_row(map(_drawn, row)) for row in table.rows)
    return Block(before, rows, "\n</details>\n" if fold else "")


def _titled(title: str, model: str) -> str:
    """A title with the name of the model, where there are several."""
    return f"{title}, {model}" if model else title


def _drawn(cell: Cell) -> str:
    shown = cell_text(f"{cell.text}{cell.mark}".strip())
    return f"<b>{shown}</b>" if cell.tone else shown


def _prose(text: str) -> str:
    """A text that begins a line of its own: it is no list, no rule and no heading."""
    shown = escaped(one_line(text, _COMMAND).strip())
    return f"&#{ord(shown[0])};{shown[1:]}" if _OPENING.match(shown) else shown


def _size(text: str) -> int:
    return len(text.encode())
