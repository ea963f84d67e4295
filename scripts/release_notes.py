"""Prints what CHANGELOG.md says of a version: ``python scripts/release_notes.py v0.2.0``.

It fails where the tag is not the version of pyproject.toml, or the changelog says nothing of it.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def notes(tag: str, version: str, changelog: str) -> str:
    """The section of a version.

    Args:
        tag: of the release, ``v`` and the version.
        version: of the package.
        changelog: the whole of it.

    Raises:
        ValueError: the tag is another version's, or the version has no section.
    """
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, and pyproject.toml has {version}: tag v{version}")
    section = rf"^## {re.escape(version)} .*?\n(.*?)(?=^## |\Z)"
    found = re.search(section, changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md says nothing of {version}: give it a section with a date")
    return found[1].strip() + "\n"


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    try:
        sys.stdout.write(notes(sys.argv[1], project["version"], text))
    except ValueError as error:
        sys.exit(str(error))
