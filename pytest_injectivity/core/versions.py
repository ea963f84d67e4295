"""The versions of installed distributions, each read once a process."""

from functools import cache
from importlib import metadata


def version(name: str) -> str:
    """The version of a distribution.

    Args:
        name: of the distribution, such as ``"torch"``.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.

    Example:
        >>> from pytest_injectivity.core.versions import version
        >>> int(version("numpy").partition(".")[0]) >= 2
        True
    """
    found = installed_version(name)
    if found is None:
        raise metadata.PackageNotFoundError(name)
    return found


@cache
def installed_version(name: str) -> str | None:
    """The version of a distribution; None where it is not installed.

    Reading it takes about a millisecond, and an audit asks for two dozen.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
