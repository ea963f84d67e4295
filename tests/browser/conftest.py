"""A real browser; tests are skipped, with a reason, where there is none."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium, driven by playwright."""
    reason = "playwright and axe-core are not installed: ./dev browser installs them"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    pytest.importorskip("axe_playwright_python", reason=reason)
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    # Chromium refuses to run as root in a sandbox of its own.
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=alone)
        yield running
        running.close()


@pytest.fixture
def page_of(pytester: pytest.Pytester) -> Callable[..., Path]:
    """Runs a suite and gives the page of its run."""

    def run(suite: str, *flags: str) -> Path:
        pytester.makepyfile(test_suite=suite)
        pytester.runpytest_inprocess(*flags, "--injx-report=html:page.html")
        return pytester.path / "page.html"

    return run
