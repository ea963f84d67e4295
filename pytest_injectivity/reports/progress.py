"""Progress bars on the terminal, and sentences kept for the summary."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from pytest_injectivity.core.progress import Advance


class TerminalWatcher:
    """Shows progress while pytest captures output, where the terminal is one.

    Args:
        keep: called with each sentence, to be shown at the end.
        config: pytest's, whose capturing is lifted for a bar; None shows no bar (a worker).
    """

    def __init__(self, keep: Callable[[str], None], config: pytest.Config | None) -> None:
        self._keep = keep
        self._config = config

    def announce(self, sentence: str) -> None:
        """Keep a sentence for the summary."""
        self._keep(sentence)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        """A bar for a piece of work of so many steps; gone when it is done."""
        if self._config is None:
            yield lambda _done: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        capture = self._config.pluginmanager.getplugin("capturemanager")
        # Without the plugin (-p no:capture) there is nothing to lift.
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            console = Console(file=sys.stderr)
            if not console.is_terminal:
                yield lambda _done: None
                return
            columns = (
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=console, transient=True) as bar:
                task = bar.add_task(label, total=total)
                yield lambda done: bar.update(task, completed=done)
