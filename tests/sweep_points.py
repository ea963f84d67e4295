"""Points of sweeps, for tests of what is drawn of them."""

from collections.abc import Mapping
from typing import Any

from pytest_injectivity.results.sweeps import SweepPoint


def point(numbers: Mapping[str, float | None], **changed: Any) -> SweepPoint:
    """A layer of a small model, with these numbers.

    Args:
        numbers: by metric.
        changed: whatever is to be another than in all tests.
    """
    plain: dict[str, Any] = {
        "model": "m",
        "revision": None,
        "dtype": "float32",
        "n_layers": 4,
        "prompts": "p",
        "prompt_hash": "h",
        "n": 12,
        "length": None,
        "longest": 9,
        "prompt_metric": "levenshtein",
        "layer": "layer01",
    }
    return SweepPoint(**plain | changed, numbers=numbers)
