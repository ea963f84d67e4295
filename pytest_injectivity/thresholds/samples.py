"""Disjoint samples of prompts that thresholds are measured on, apart from those that the gate judges."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.promptset import PromptSet

FEWEST = 8
"""The fewest prompts of a sample: the models' numbers are compared over halves of it."""

_ENOUGH = 50


@dataclass(frozen=True)
class Samples:
    """Disjoint samples of one size, and what they have to do with the prompts that the gate judges.

    Attributes:
        sets: the samples.
        judged: how many prompts the gate judges.
        apart: whether the gate judges none of the samples' prompts.
        hash: of all prompts of the samples together.
    """

    sets: tuple[PromptSet, ...] = field(repr=False)
    judged: int
    apart: bool
    hash: str

    @property
    def size(self) -> int:
        """The number of prompts of each sample."""
        return len(self.sets[0])

    @property
    def doublings(self) -> float:
        """How often a sample is doubled until it has as many prompts as the gate judges; at least 0."""
        return max(0.0, math.log2(self.judged / self.size))


def draw_samples(
    pool: PromptSet, judged: PromptSet, *, number: int, size: int, seed: int
) -> Samples:
    """Draw disjoint samples by hash, of prompts that the gate does not judge where there are enough.

    Args:
        pool: the prompts to draw from.
        judged: the prompts that the gate judges.
        number: how many samples.
        size: the most prompts of each.
        seed: salts the hashes.

    Raises:
        PromptError: the pool has fewer than 8 prompts for each sample.
    """
    own = set(judged.ids)
    others = [at for at, ids in enumerate(pool.ids) if ids not in own]
    apart = len(others) >= number * min(size, _ENOUGH)
    drawn = sorted(others if apart else range(len(pool)), key=_rank(pool, seed))
    each = min(size, len(drawn) // number)
    if each < FEWEST:
        raise PromptError(
            f"{pool.name} has {number_of(len(pool), 'prompt')}: {number_of(number, 'sample')} need"
            f" {FEWEST} each, and would have {each} (of at most {size}); give more prompts, or fewer or"
            " larger samples"
        )
    parts = [sorted(drawn[at * each : (at + 1) * each]) for at in range(number)]
    together = pool.take(sorted(at for part in parts for at in part), pool.name)
    sets = [pool.take(part, f"{pool.name}[sample {at}]") for at, part in enumerate(parts, 1)]
    return Samples(tuple(sets), len(judged), apart, together.hash)


def _rank(pool: PromptSet, seed: int) -> Callable[[int], bytes]:
    """The salted hash of a prompt, by its index."""
    return lambda at: hashlib.sha256(f"{seed} {pool.hashes[at]}".encode()).digest()
