"""``scripts/release_notes.py``: what the release of a tag says."""

import tomllib
from pathlib import Path

import pytest

from scripts.release_notes import notes

ROOT = Path(__file__).parents[2]
SECTIONS = (
    "# Changelog",
    "## Unreleased",
    "## 1.1.0 - 2026-01-02",
    "- new",
    "## 1.0.0 - 2025-01-02",
    "- old",
)
CHANGELOG = "\n\n".join(SECTIONS) + "\n"


def test_a_version_has_its_own_section() -> None:
    """And nothing of the ones before and after it."""
    assert "- new\n" == notes("v1.1.0", "1.1.0", CHANGELOG)
    assert "- old\n" == notes("v1.0.0", "1.0.0", CHANGELOG)


def test_another_tag_is_refused() -> None:
    """With the tag that is right."""
    with pytest.raises(ValueError, match=r"the tag is v1\.0\.0, .*: tag v1\.1\.0"):
        notes("v1.0.0", "1.1.0", CHANGELOG)


def test_a_version_of_which_nothing_is_said_is_refused() -> None:
    """Neither of its own nor as the beginning of another's."""
    with pytest.raises(ValueError, match=r"says nothing of 1\.1: "):
        notes("v1.1", "1.1", CHANGELOG)


def test_the_package_has_a_section() -> None:
    """So that its tag can be released."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert "### Added" in notes(f"v{version}", version, (ROOT / "CHANGELOG.md").read_text())
