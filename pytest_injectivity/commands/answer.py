"""What a command answers, and the type of what commands are added to."""

import argparse
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no other name


class Answer(NamedTuple):
    """What a command prints, and the exit status."""

    text: str
    status: int = 0
