"""What the report of a test says, before it is read.

Standard library only: it is imported whenever tests run, with an audit or without.
"""

from typing import NamedTuple


class Told(NamedTuple):
    """Something that the report of a test says.

    Attributes:
        at: the place of the test among those collected.
        kind: of what it says: ``run``, ``layer``, ``comparison``, ``release``, ``sweep``, ``verdict``
            or ``said``.
        text: as JSON; of ``said`` the sentence itself.
        model: the name of the model it is about; empty where the run has one model.
    """

    at: int
    kind: str
    text: str
    model: str = ""
