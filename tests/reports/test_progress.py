import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

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


def test_a_log_shows_none(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a pipe gets not one character."""
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    with TerminalWatcher(print, config).progress("hidden states", 12) as advance:
        advance(12)
    assert "" == log.getvalue()
    assert ["lifted", "back"] == config.lifted


def test_a_worker_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller's terminal is not its own."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with TerminalWatcher(print, None).progress("hidden states", 12) as advance:
        advance(12)
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
