"""The versions of installed distributions."""

from importlib import metadata

import pytest

from pytest_injectivity.core.versions import installed_version, version


def test_the_version_is_that_of_the_installed_distribution() -> None:
    """As the distribution's own metadata says."""
    expected = metadata.version("torch")
    assert expected == version("torch")
    assert expected == installed_version("torch")


def test_a_distribution_that_is_missing_has_none() -> None:
    """Whoever cannot do without it is told its name."""
    assert installed_version("no-such-distribution") is None
    with pytest.raises(metadata.PackageNotFoundError, match="no-such-distribution"):
        version("no-such-distribution")
