"""A command in a process of its own, which must need none of the heavy packages."""

import os
import subprocess
import sys

LIGHT = "LIGHT 0\n"
"""What a command ends with that succeeded without them."""


def without_torch(*arguments: str) -> str:
    """What ``pytest-injectivity`` prints where a log knows ASCII alone, and then how light it was."""
    code = (
        "import sys\nfrom pytest_injectivity.__main__ import main\n"
        f"status = main({list(arguments)!r})\n"
        "heavy = {'torch', 'numpy', 'transformers', 'scipy', 'pytest'} & set(sys.modules)\n"
        "print('HEAVY' if heavy else 'LIGHT', status)"
    )
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    return done.stdout
