"""What is printed in a step of a GitHub workflow.

GitHub's runner reads commands out of what a step prints: a line that begins with ``::``, after blanks,
or that holds ``##[`` anywhere. A line that quotes a model or a prompt must not be one.
"""

import os
import re
from collections.abc import Mapping


def in_workflow(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a step of a GitHub workflow (or of one that says so)."""
    return environment.get("GITHUB_ACTIONS") == "true"


def harmless(line: str) -> str:
    """The line with a blank where the runner would find a command in it."""
    return re.sub(r"^(\s*):(?=:)", r"\1: ", line).replace("##[", "## [")
