"""Progress on the terminal or in the log, and sentences kept for the summary."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest

from pytest_injectivity.core.progress import UNCOUNTED, Advance, Steps
from pytest_injectivity.reports.progress_lines import EVERY, ProgressLines


class TerminalWatcher:
    """Shows progress while pytest captures output: a bar on a terminal, lines in a log.

    Everything is written to stderr at once, whatever ``-q`` says: it is about time that passes now.

    Args:
        keep: called with each sentence that is announced, to be shown at the end.
        config: pytest's, whose capturing is lifted for what is shown.
        worker: the name of this worker of pytest-xdist, which draws no bar; empty without workers.
        every: seconds between two lines in a log.
    """

    def __init__(
        self,
        keep: Callable[[str], None],
        config: pytest.Config,
        *,
        worker: str = "",
        every: float = EVERY,
    ) -> None:
        self._keep = keep
        self._config = config
        self._worker = worker
        self._every = every

    def announce(self, sentence: str) -> None:
        """Keep a sentence for the summary."""
        self._keep(sentence)

    def foretell(self, sentence: str) -> None:
        """Write a sentence before the work that it is about."""
        with self._lifted():
            self._write(sentence)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        """A bar for a piece of work of so many steps, gone when it is done; in a log, lines."""
        with self._lifted():
            if not sys.stderr.isatty():
                lines = ProgressLines(label, total, self._write, every=self._every)
                with lines.telling():
                    yield lines.advance
            elif self._worker or total == UNCOUNTED:
                yield lambda _done: None
            else:
                with _bar(label, total) as advance:
                    yield advance

    def _lifted(self) -> AbstractContextManager[object]:
        capture = self._config.pluginmanager.getplugin("capturemanager")
        # Without the plugin (-p no:capture) there is nothing to lift.
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def _write(self, line: str) -> None:
        """Write a line of its own: pytest may have stopped within one of its dots."""
        worker = f"[{self._worker}] " if self._worker else ""
        sys.stderr.write(f"\n{worker}{line}\n")
        sys.stderr.flush()


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task, steps = bar.add_task(label, total=total), Steps(total)

        def advance(done: int) -> None:
            steps.advance(done)
            bar.update(task, completed=steps.done)

        yield advance
