import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_injectivity.core.progress import UNCOUNTED
from pytest_injectivity.reports.progress import TerminalWatcher


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.fixture
def config() -> Any:
    """Pytest's config as far as a watcher needs it: capturing that can be lifted."""
    lifted: list[str] = []

    @contextmanager
    def disabled() -> Iterator[None]:
        lifted.append("lifted")
        try:
            yield
        finally:
            lifted.append("back")

    manager = SimpleNamespace(global_and_fixture_disabled=disabled)
    plugins = SimpleNamespace(getplugin=lambda name: manager if name == "capturemanager" else None)
    return SimpleNamespace(pluginmanager=plugins, lifted=lifted)


def test_sentences_are_kept(config: Any) -> None:
    """They are shown at the end, not in the middle of pytest's dots."""
    kept: list[str] = []
    watcher = TerminalWatcher(kept.append, config)
    watcher.announce("one")
    watcher.announce("two")
    assert ["one", "two"] == kept


def test_without_capturing_there_is_nothing_to_lift() -> None:
    """Pytest may be run with ``-p no:capture``; the work is done all the same."""
    plugins = SimpleNamespace(getplugin=lambda _name: None)
    config: Any = SimpleNamespace(pluginmanager=plugins)
    done: list[int] = []
    with TerminalWatcher(print, config).progress("hidden states", 12) as advance:
        advance(3)
        done.append(3)
    assert [3] == done


def test_a_terminal_shows_a_bar(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With label, count and total, while capturing is lifted; it is put back after."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with TerminalWatcher(print, config).progress("hidden states", 12) as advance:
        assert ["lifted"] == config.lifted
        for done in (3, 12):
            advance(done)
    assert ["lifted", "back"] == config.lifted
    assert "hidden states" in terminal.getvalue()
    assert "12/12" in terminal.getvalue()


def test_a_bar_never_shows_more_than_all(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever counts may count wrong."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with TerminalWatcher(print, config).progress("hidden states", 12) as advance:
        advance(13)
    assert "12/12" in terminal.getvalue()
    assert "13/12" not in terminal.getvalue()


def test_a_log_shows_nothing_of_short_work(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is over before the first line is due leaves not one character in a file or a pipe."""
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    # Rich takes a log for a terminal where this is set, as CI does for colours.
    monkeypatch.setenv("FORCE_COLOR", "1")
    with TerminalWatcher(print, config).progress("hidden states", 12) as advance:
        advance(12)
    assert "" == log.getvalue()
    assert ["lifted", "back"] == config.lifted


def test_a_log_gets_lines_of_long_work(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines come from a thread of their own, also while no step is finished."""
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    written = threading.Event()
    monkeypatch.setattr(log, "flush", written.set)
    with TerminalWatcher(print, config, every=0.0).progress("hidden states", 12):
        assert written.wait(10)
    assert "\ninjectivity: hidden states: 0 of 12, " in log.getvalue()


def test_what_is_foretold_is_written_at_once(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the log, on a line of its own, before the work it is about; nothing is kept."""
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    kept: list[str] = []
    TerminalWatcher(kept.append, config).foretell("this takes a minute")
    assert "\nthis takes a minute\n" == log.getvalue()
    assert ["lifted", "back"] == config.lifted
    assert [] == kept


def test_a_worker_draws_no_bar(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal that it shares with the controller is not its own."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with TerminalWatcher(print, config, worker="gw1").progress("hidden states", 12) as advance:
        advance(12)
    assert "" == terminal.getvalue()


def test_a_worker_names_itself_in_a_log(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of several workers stand in one log."""
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    TerminalWatcher(print, config, worker="gw1").foretell("this takes a minute")
    assert "\n[gw1] this takes a minute\n" == log.getvalue()


def test_work_without_steps_draws_no_bar(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar of nothing would say nothing."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with TerminalWatcher(print, config).progress("loading", UNCOUNTED):
        pass
    assert "" == terminal.getvalue()


def test_an_error_ends_the_bar(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capturing is put back whatever happens."""
    monkeypatch.setattr("sys.stderr", Terminal())
    with (
        pytest.raises(ZeroDivisionError),
        TerminalWatcher(print, config).progress("hidden states", 12),
    ):
        raise ZeroDivisionError
    assert ["lifted", "back"] == config.lifted
