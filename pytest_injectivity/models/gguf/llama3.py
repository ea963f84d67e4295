"""Recognizes the rotary scaling of Llama 3.1 in a file's factors of frequencies.

A ``.gguf`` file holds no parameters of that scaling. The script that makes the file evaluates them and
writes what each frequency is divided by: 1 where the wavelength is short, the whole factor where it is
long, and in between a number that is linear in the frequency.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pytest_injectivity.core.shapes import Float64

# Of every published model; files are made with them where a configuration does not say them.
_LOW, _HIGH = 1.0, 4.0
_CONTEXTS = tuple(2**power for power in range(4, 21))
# A file's factors come from frequencies in float32, rounded a few times.
_ROUNDED = 2e-6


def llama3_parameters(
    factors: Float64[np.ndarray, " frequencies"], base: float, original: int | None
) -> dict[str, Any] | None:
    """The ``rope_parameters`` of llama3 that give these factors; None where none do.

    Args:
        factors: what each frequency is divided by, the highest frequency first.
        base: of the frequencies.
        original: the context before scaling; None: the powers of two are tried.

    Example:
        >>> factors = factors_of_llama3(64, 500000.0, llama3_parameters_of(8.0, 8192))
        >>> llama3_parameters(factors, 500000.0, None)["original_max_position_embeddings"]
        8192
    """
    for tried in _tried(float(factors.max()), original):
        expected = factors_of_llama3(len(factors), base, tried)
        if bool((np.abs(factors - expected) <= _ROUNDED * expected).all()):
            return tried
    return None


def llama3_parameters_of(factor: float, original: int) -> dict[str, Any]:
    """The ``rope_parameters`` of llama3, with the bounds of every published model."""
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": _LOW,
        "high_freq_factor": _HIGH,
        "original_max_position_embeddings": original,
    }


def factors_of_llama3(
    count: int, base: float, parameters: Mapping[str, Any]
) -> Float64[np.ndarray, " count"]:
    """What llama3's parameters divide each of so many frequencies by.

    Args:
        count: of the frequencies.
        base: of the frequencies.
        parameters: as `llama3_parameters_of` gives them.
    """
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    turns = parameters["original_max_position_embeddings"] * base ** (-np.arange(count) / count)
    turns = turns / (2 * np.pi)
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    divided: Float64[np.ndarray, " count"] = 1 / ((1 - share) / parameters["factor"] + share)
    return divided


def _tried(factor: float, original: int | None) -> Iterator[dict[str, Any]]:
    if factor <= 1:
        return
    for context in _CONTEXTS if original is None else (original,):
        yield llama3_parameters_of(factor, context)
