"""Where a user's caches are, and whether there is such a place: users of containers may have no home."""

import os
from pathlib import Path


def cache_folder(program: str) -> Path | None:
    """The folder of this user's caches of a program, as the operating system or the user names it.

    Args:
        program: its name.

    Returns:
        The folder, which need not exist; None where it would lie in a home that does not exist, or
        could neither be made nor written to.
    """
    import platformdirs

    if "HOME" in os.environ and not Path(os.environ["HOME"]).is_absolute():
        return None  # empty or relative: caches would lie in the root or wherever one stands
    try:
        found = platformdirs.user_cache_path(program)
    except RuntimeError:  # neither a home nor a variable
        return None
    home = os.path.expanduser("~")  # noqa: PTH111 - Path's raises
    homeless = found.is_relative_to(home) and not os.path.isdir(home)  # noqa: PTH112 - Path's raises
    if homeless or not found.is_absolute():
        return None
    nearest = next(one for one in (found, *found.parents) if os.path.lexists(one))
    return found if os.access(nearest, os.R_OK | os.W_OK | os.X_OK) else None
