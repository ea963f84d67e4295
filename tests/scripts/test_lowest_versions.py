"""``scripts/lowest_versions.py``: the versions that ``./dev lowest`` installs."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

Lowest = Callable[..., list[str]]

PROJECT = """
[project]
dependencies = ["{first}", "torch>=2.9"]
[project.optional-dependencies]
extra = ["c-d>=3"]
[dependency-groups]
test = ["{last}"]
lint = ["never>=9"]
"""


@pytest.fixture
def lowest() -> Lowest:
    """What the script prints."""
    found: Lowest = importlib.import_module("scripts.lowest_versions").lowest
    return found


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Writes a pyproject.toml with these requirements."""

    def written(first: str = "a>=1.5", last: str = "c-d>=3") -> Path:
        path = tmp_path / "pyproject.toml"
        path.write_text(PROJECT.format(first=first, last=last))
        return path

    return written


def test_each_direct_requirement_is_held_at_its_lower_bound(
    lowest: Lowest, project: Callable[..., Path]
) -> None:
    """Of the package, its extras and its tests; what is given stands in place of a bound."""
    assert ["a==1.5", "c-d==3", "torch==2.9"] == lowest(project())
    assert ["a==1.5", "c-d==3", "torch==2.13.0"] == lowest(project(), ("torch==2.13.0",))


@pytest.mark.parametrize("requirement", ["b", "b<2", "b>=1,<2", "b==1", "b~=1.0"])
def test_what_has_no_lower_bound_alone_is_refused(
    lowest: Lowest, project: Callable[..., Path], requirement: str
) -> None:
    """It would be tested at another version than the lowest."""
    with pytest.raises(ValueError, match=r"of .*pyproject\.toml is not NAME>=VERSION"):
        lowest(project(first=requirement))


def test_two_lower_bounds_are_refused(lowest: Lowest, project: Callable[..., Path]) -> None:
    """The tests would hide the lower one, which an installation gets."""
    with pytest.raises(ValueError, match="c-d has two lower bounds, 3 and 4"):
        lowest(project(last="c-d>=4"))


def test_this_project_has_lower_bounds(lowest: Lowest) -> None:
    """Every one of its own requirements."""
    found = lowest()
    assert 20 < len(found) == len({one.partition("==")[0] for one in found})
