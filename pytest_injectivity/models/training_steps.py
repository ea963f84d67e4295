"""The checkpoints of a training, by the step at which each was written.

A training writes a folder ``checkpoint-STEP`` every so many steps, as the library's trainer does; what
is written before the first step is ``checkpoint-0``. Files of the optimizer are never opened.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models.checkpoint import resolve

_PREFIX = "checkpoint-"
_IS_STEP = re.compile(f"{_PREFIX}[0-9]+")
_FEWEST = 2


def list_checkpoints(folder: str | Path, *, most: int | None = None) -> dict[int, str]:
    """The checkpoints in a folder, ``checkpoint-STEP`` each, by their steps, the first one first.

    Of each its configuration and the headers of its weights are read; no weights are loaded.

    Args:
        folder: the folder that a training wrote into, or a ``checkpoint-STEP`` in it. Paths are relative
            where it is.
        most: take so many of them, at steps that grow by about the same factor (`log_spaced`).

    Raises:
        ModelError: there is no such folder or no checkpoint in it; a name ends in no number; or a
            checkpoint cannot be audited, as where its weights are missing or would be unpickled.
        OptionError: ``most`` is below 2.

    Example:
        >>> import tempfile
        >>> from pytest_injectivity.testing import save_checkpoint, tiny_decoder
        >>> folder = Path(tempfile.mkdtemp())
        >>> for step in (0, 10, 5):
        ...     _ = save_checkpoint(tiny_decoder(seed=step), folder / f"checkpoint-{step}")
        >>> list(list_checkpoints(folder))
        [0, 5, 10]
    """
    folder = Path(folder).expanduser()
    if _IS_STEP.fullmatch(folder.absolute().name):
        folder = folder.parent if folder.name else folder.absolute().parent  # "." has no parent
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; give one that holds checkpoint-STEP folders")
    found: dict[int, str] = {}
    for path in sorted(folder.glob(f"{_PREFIX}*")):
        step = _step(path)
        if step in found:
            raise ModelError(f"{path} and {found[step]} are of one step: give each step one folder")
        found[step] = str(path)
    if not found:
        raise ModelError(f"{folder} holds no checkpoint-STEP folder, such as checkpoint-1000")
    steps = sorted(found) if most is None else log_spaced(sorted(found), most)
    for step in steps:
        _ = resolve(found[step]).weights  # refused before others are measured for minutes
    return {step: found[step] for step in steps}


def log_spaced(steps: Sequence[int], count: int) -> list[int]:
    """So many of some steps, the first and the last among them, which grow by about the same factor.

    Args:
        steps: ascending, none below 0.
        count: how many are taken; all of them where there are fewer.

    Raises:
        OptionError: the count is below 2.

    >>> log_spaced(range(1001), 20)
    [0, 1, 2, 3, 4, 6, 9, 13, 19, 27, 39, 56, 80, 115, 165, 237, 340, 487, 698, 1000]
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < _FEWEST:
        raise OptionError(f"{count!r} steps: give an integer of at least {_FEWEST}")
    left = list(steps)
    if len(left) <= count:
        return left
    last, taken = left[-1], [left.pop(0)]
    for missing in range(count - 1, 1, -1):
        before = taken[-1]
        # Step 0 has no logarithm: the factors begin with the step after it.
        wanted = before * (last / before) ** (1.0 / missing) if before else left[0]
        possible = left[: len(left) - missing + 1]
        taken.append(min(possible, key=lambda one: abs(math.log(one / wanted))))
        left = left[left.index(taken[-1]) + 1 :]
    return [*taken, last]


def _step(path: Path) -> int:
    ending = path.name.removeprefix(_PREFIX)
    if not _IS_STEP.fullmatch(path.name):
        raise ModelError(
            f"{path}: {ending!r} is no step: give a whole number, as in checkpoint-1000"
        )
    if not path.is_dir():
        raise ModelError(
            f"{path} is a file: a folder with a config.json and safetensors is accepted"
        )
    return int(ending)
