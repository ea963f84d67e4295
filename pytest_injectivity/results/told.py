"""What the report of a test says, before it is read.

Standard library only: pytest loads it on every start.
"""

from typing import NamedTuple


class Told(NamedTuple):
    """Something that the report of a test says.

    Attributes:
        at: the place of the test among those collected.
        kind: of what it says: ``run``, ``layer``, ``comparison``, ``release``, ``verdict`` or ``said``.
        text: as JSON; of ``said`` the sentence itself.
    """

    at: int
    kind: str
    text: str
