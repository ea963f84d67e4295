"""Prints the lowest version of each direct requirement that pyproject.toml admits, as pip's constraints.

    python scripts/lowest_versions.py [NAME==VERSION...] > lowest.txt

Requirements of the package, of its extras and of its tests. What is given as NAME==VERSION stands in
place of the lowest version: torch has no small builds of every version.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<version>[0-9.]+)$")


def lowest(project: Path = PROJECT, given: tuple[str, ...] = ()) -> list[str]:
    """The constraints, by name.

    Args:
        project: a pyproject.toml.
        given: constraints that stand in place of the lowest version of what they name.

    Raises:
        ValueError: a requirement has no lower bound, or two lower bounds differ.
    """
    found: dict[str, str] = {}
    for requirement in _requirements(project):
        match = _REQUIREMENT.match(requirement)
        if match is None:
            raise ValueError(f"{requirement!r} of {project} is not NAME>=VERSION")
        name, version = match["name"], match["version"]
        if found.setdefault(name, version) != version:
            raise ValueError(f"{project}: {name} has two lower bounds, {found[name]} and {version}")
    found |= dict(one.split("==") for one in given)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _requirements(project: Path) -> Iterator[str]:
    content = tomllib.loads(project.read_text(encoding="utf-8"))
    yield from content["project"]["dependencies"]
    for extra in content["project"]["optional-dependencies"].values():
        yield from extra
    yield from content["dependency-groups"]["test"]


if __name__ == "__main__":
    print("\n".join(lowest(given=tuple(sys.argv[1:]))))
