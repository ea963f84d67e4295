"""``python -m pytest_injectivity``."""

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_injectivity.__main__ import main
from pytest_injectivity.states.store import Store

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two entries."""
    made = Store(tmp_path / "store")
    for key in "ab":
        entry = made.entry(key, "code")
        (entry.folder / "filling").write_bytes(bytes(1000))
        entry.release()
    return made.folder


def test_purge_says_what_it_removed(store: Path, capsys: Printed) -> None:
    """Entries, bytes and the folder."""
    assert 0 == main(["purge", "--cache-dir", str(store)])
    assert f"removed 2 entries (2,000 bytes) of {store}\n" == capsys.readouterr().out
    assert not store.exists()


def test_purge_empties_the_users_own_store(
    store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no folder is named."""
    own = store.parent / "pytest-injectivity"
    store.rename(own)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own.parent))
    assert 0 == main(["purge"])
    assert f"of {own}\n" in capsys.readouterr().out
    assert not own.exists()
    assert 0 == main(["purge"])
    assert f"nothing to remove: {own} does not exist\n" == capsys.readouterr().out


def test_purge_leaves_what_is_in_use_and_says_so(store: Path, capsys: Printed) -> None:
    """A run that is going on keeps its entry."""
    entry = Store(store).entry("a", "code")
    assert 0 == main(["purge", "--cache-dir", str(store)])
    assert "; 1 in use were left\n" in capsys.readouterr().out
    assert entry.folder.exists()


@pytest.mark.parametrize("empty", [False, True])
def test_purge_removes_nothing_that_is_no_store(
    tmp_path: Path, capsys: Printed, *, empty: bool
) -> None:
    """A folder somebody names by mistake stays as it is, also one that looks a little like it."""
    folder = tmp_path / "home"
    (folder / "entries" / "thesis").mkdir(parents=True)
    (folder / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    if empty:
        folder = tmp_path / "empty"
        folder.mkdir()
    before = sorted(folder.rglob("*"))
    assert 2 == main(["purge", "--cache-dir", str(folder)])
    said = f"error: --cache-dir {folder} is no store of this package: nothing was removed\n"
    assert said == capsys.readouterr().err
    assert before == sorted(folder.rglob("*"))
    assert folder.exists()


@pytest.mark.parametrize("arguments", [[], ["purify"], ["purge", "here"], ["purge", "--cache"]])
def test_wrong_use_is_exit_status_2(arguments: list[str], capsys: Printed) -> None:
    """As argparse says it."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert 2 == caught.value.code
    assert "usage: python -m pytest_injectivity" in capsys.readouterr().err


def test_an_empty_name_is_wrong_use(capsys: Printed) -> None:
    """Such as an unset variable."""
    assert 2 == main(["purge", "--cache-dir", ""])
    assert "error: --injx-cache-dir: '' is empty: give a text\n" == capsys.readouterr().err


def test_help_says_how_sensitive_a_store_is() -> None:
    """And needs no torch."""
    code = (
        "import runpy, sys; sys.argv[1:] = ['purge', '--help']\n"
        "try: runpy.run_module('pytest_injectivity', run_name='__main__')\n"
        "finally: print('TORCH' if 'torch' in sys.modules else 'LIGHT')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - python itself
    assert "as sensitive as the prompts" in " ".join(done.stdout.split())
    assert done.stdout.endswith("LIGHT\n")
