"""Runs in which every warning is an error, as many teams run their tests."""

from pathlib import Path

import pytest

from tests.integration.support import run_pytest

SUITE = """
def test_collisions(injx):
    injx.assert_no_collisions()

def test_margin(injx):
    injx.assert_margin_above(1, 1e-6)

def test_sipit(injx):
    injx.assert_sipit_recovers(1, prompts=2, tokens=8)
"""
FLAGS = (
    *("-W", "error", "--injx-prompts=builtin:random", "--injx-max-prompts=8", "--injx-length=8"),
    *("--injx-layers=1,norm", "--injx-report=json:r.json", "--injx-report=markdown:r.md"),
)


@pytest.mark.slow
def test_a_first_run_warns_of_nothing(tmp_path: Path) -> None:
    """Without compiled files, which Python warns of as it makes them, and without a store."""
    done = run_pytest(
        tmp_path,
        SUITE,
        *FLAGS,
        PYTHONDONTWRITEBYTECODE=None,
        PYTHONPYCACHEPREFIX=str(tmp_path / "compiled"),
        PYTHONWARNINGS="error",
        XDG_CACHE_HOME=str(tmp_path / "caches"),
    )
    assert pytest.ExitCode.OK == done.status, done.text
    assert "3 passed" in done.text
    assert "warning" not in done.text.lower()


@pytest.mark.slow
def test_a_run_without_a_home_is_green_and_says_what_it_keeps(tmp_path: Path) -> None:
    """Users of containers may have neither a home nor a name."""
    done = run_pytest(
        tmp_path,
        SUITE,
        *FLAGS,
        HOME=str(tmp_path / "none"),
        USER=None,
        LOGNAME=None,
        XDG_CACHE_HOME="",
        XDG_CONFIG_HOME="",
        XDG_DATA_HOME="",
    )
    assert pytest.ExitCode.OK == done.status, done.text
    assert "nothing is kept between runs" in " ".join(done.text.split())
    assert not (tmp_path / "none").exists()
