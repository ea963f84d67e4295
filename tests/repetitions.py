"""Parameters of which the default run takes one of each kind, and ``-m slow`` all others."""

from collections.abc import Iterable
from typing import Any

import pytest

SOME_FAMILIES = ("gpt2", "llama", "gemma2", "falcon", "mamba")
"""Learned positions, rotary ones, sliding windows, parallel branches, and a recurrence."""


def mostly_slow(every: Iterable[Any], *quick: Any) -> list[Any]:
    """Parameters, all but some of them marked ``slow``.

    Args:
        every: the parameters; those of several names are tuples.
        quick: those of them that the default run takes.
    """
    listed = list(every)
    assert set(quick) <= set(listed), "a parameter was renamed"
    return [one if one in quick else _slow(one) for one in listed]


def _slow(one: Any) -> Any:
    values = one if isinstance(one, tuple) else (one,)
    return pytest.param(*values, marks=pytest.mark.slow)
