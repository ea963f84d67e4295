"""Finds and makes prompts that are one edit apart."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from rapidfuzz.distance import Levenshtein

from pytest_injectivity.core.shapes import Int64, UInt64

# Odd, so that it has an inverse modulo 2^64; hashes only propose pairs, which are then compared.
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_PLACE, _LENGTH = 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9


def has_minimal_edit(ids: Sequence[Sequence[int]], *, same_length: bool = False) -> bool:
    """Whether two of the prompts are one substitution, insertion or deletion apart.

    Two sequences of equal length differ in one place exactly if they agree once that place is left
    out of both; of lengths that differ by one, if leaving a place out of the longer gives the
    shorter. Each prompt is therefore hashed with every place left out: linear in all tokens.

    Args:
        ids: distinct token id sequences.
        same_length: count substitutions only: the Hamming metric compares equal lengths.
    """
    keys = [_keys(prompt) for prompt in ids]
    owners = np.repeat(np.arange(len(ids)), [len(own) for own in keys])
    every = np.concatenate(keys)
    order = np.argsort(every, kind="stable")
    every, owners = every[order], owners[order]
    bounds = np.flatnonzero(np.diff(every, prepend=every[:1] + np.uint64(1)))
    bounds = np.append(bounds, len(every))
    for at in np.flatnonzero(np.diff(bounds) > 1):
        prompts = [ids[owner] for owner in np.unique(owners[bounds[at] : bounds[at + 1]])]
        if _any_one_apart(prompts, same_length=same_length):
            return True
    return False


def _any_one_apart(prompts: Sequence[Sequence[int]], *, same_length: bool) -> bool:
    return any(
        Levenshtein.distance(one, other) == 1
        for one, other in combinations(prompts, 2)
        if not same_length or len(one) == len(other)
    )


def _keys(prompt: Sequence[int]) -> UInt64[np.ndarray, " keys"]:
    """Hashes of which two prompts share one if they are one edit apart, and hardly ever otherwise."""
    length = len(prompt)
    codes = np.array(prompt, np.uint64) * np.uint64(2) + np.uint64(1)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes * _powers(length))])
    left_out = sums[:-1] + (sums[-1] - sums[1:]) * np.uint64(_INVERSE)
    # Left out at the same place of equal lengths; or of the longer, against the whole shorter.
    replaced = left_out + (np.arange(length, dtype=np.uint64) + np.uint64(1)) * np.uint64(_PLACE)
    return np.concatenate(
        [
            sums[-1:] + np.uint64(length * _LENGTH % 2**64),
            replaced + np.uint64(length * _LENGTH % 2**64),
            left_out + np.uint64((length - 1) * _LENGTH % 2**64),
        ]
    )


def _powers(count: int) -> UInt64[np.ndarray, " count"]:
    factors = np.full(count, _BASE, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors)


def one_token_changed(
    ids: Sequence[int], known: Int64[np.ndarray, " known"], random: np.random.Generator
) -> tuple[int, ...]:
    """The prompt with one token, at a place drawn uniformly, replaced by another known one.

    Args:
        ids: at least one token id.
        known: the ids that can stand in a prompt, ascending (`known_tokens`), at least 2.
        random: draws the place and the token.

    Example:
        >>> one_token_changed((3, 3), np.array([3, 7]), np.random.default_rng(0)).count(7)
        1
    """
    place = int(random.integers(len(ids)))
    shift = int(random.integers(1, len(known)))
    token = known[(np.searchsorted(known, ids[place]) + shift) % len(known)]
    return (*ids[:place], int(token), *ids[place + 1 :])
