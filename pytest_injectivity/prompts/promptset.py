"""Prompt sets: distinct sequences of token ids, with counts of what was dropped.

Two prompts are distinct when their ids differ, whatever their texts (SPEC section 1). The hash of a set
depends neither on the order of its prompts nor on the machine. Numbers that were measured on two sets
may be compared only where the hashes agree.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.losses import TextLosses

if TYPE_CHECKING:
    from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric


def prompt_hash(ids: Sequence[int]) -> str:
    """The SHA-256 (hex) of token ids written as little-endian int64: the same on every machine."""
    return hashlib.sha256(struct.pack(f"<{len(ids)}q", *ids)).hexdigest()


@dataclass(frozen=True)
class PromptSample:
    """Distinct beginnings of prompts, all of one length, in the order of the prompts' hashes.

    Attributes:
        ids: the token ids of each beginning; no two are alike.
        prompts: for each, the index in the set of the prompt that it begins; where several prompts
            begin alike, of the one with the smallest hash.
        available: how many distinct beginnings of this length the set has.
    """

    ids: tuple[tuple[int, ...], ...] = field(repr=False)
    prompts: tuple[int, ...]
    available: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class PromptSet:
    """Distinct prompts as token ids, in the order of their source.

    Attributes:
        name: what reports call the set: a file's name, or ``builtin:...``.
        ids: the token ids of each prompt; at least one each, no two prompts alike.
        texts: the text of each prompt, parallel to ``ids`` (of a window: its decoded tokens);
            None where the source gave ids.
        special_tokens: whether BOS and the like were added to the source's own tokens.
        dropped_duplicates: prompts dropped because an earlier one is the same.
        dropped_overlong: prompts dropped because they exceed the context.
        dropped_empty: prompts dropped because they have no token of their own.
        dropped_tokens: tokens left over at the ends of texts that were cut into windows.
        left_out: distinct prompts not in the sample that ``max_prompts`` asked for.
        kinds: of a challenge set, how each prompt was made (``"base"``, ``"newline"``, ...).
        bases: of a challenge set, the hash of the prompt each was made from (of a base: its own).
        losses: what the tokenizer lost of the texts; of them ``dropped_indistinguishable`` were dropped
            because an earlier, different text has the same ids.
        notes: sentences on how the source was read.
        templated: whether a chat template wrote the texts, which hold their special tokens then.

    Raises:
        PromptError: there is no prompt, one is empty or given twice, or a parallel field has
            another length.

    >>> prompts = PromptSet("two", ((1, 2), (3,)), None, special_tokens=False)
    >>> len(prompts), prompts.longest, prompts.lengths.tolist()
    (2, 2, [2, 1])
    """

    name: str
    ids: tuple[tuple[int, ...], ...] = field(repr=False)  # pytest prints fixtures of failing tests
    texts: tuple[str, ...] | None = field(repr=False)
    special_tokens: bool
    dropped_duplicates: int = 0
    dropped_overlong: int = 0
    dropped_empty: int = 0
    dropped_tokens: int = 0
    left_out: int = 0
    kinds: tuple[str, ...] | None = field(default=None, repr=False)
    bases: tuple[str, ...] | None = field(default=None, repr=False)
    losses: TextLosses = field(default=TextLosses())
    notes: tuple[str, ...] = ()
    templated: bool = False

    def __post_init__(self) -> None:
        if not self.ids:
            raise PromptError(f"{self.name} has no prompts: give at least one")
        if not all(self.ids):
            raise PromptError(f"{self.name}: prompt {self.ids.index(())} has no token ids")
        if len(set(self.ids)) != len(self.ids):
            raise PromptError(
                f"{self.name}: two of its {len(self.ids)} prompts have equal token ids"
            )
        for name in ("texts", "kinds", "bases"):
            parallel = getattr(self, name)
            if parallel is not None and len(parallel) != len(self.ids):
                raise PromptError(
                    f"{self.name}: {len(parallel)} {name} for {len(self.ids)} prompts:"
                    " give one each"
                )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dropped_indistinguishable(self) -> int:
        """Texts dropped because an earlier, different text has the same ids."""
        return self.losses.indistinguishable

    @cached_property
    def lengths(self) -> Int64[np.ndarray, " prompts"]:
        """The number of tokens of each prompt, special tokens included; read-only."""
        lengths = np.fromiter(map(len, self.ids), np.int64, len(self.ids))
        lengths.flags.writeable = False
        return lengths

    @property
    def longest(self) -> int:
        """The number of tokens of the longest prompt."""
        return max(map(len, self.ids))

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """Each prompt's `prompt_hash`, parallel to ``ids``."""
        return tuple(map(prompt_hash, self.ids))

    @cached_property
    def hash(self) -> str:
        """The set's hash: SHA-256 of its prompts' hex hashes, sorted and joined without a gap."""
        return hashlib.sha256("".join(sorted(self.hashes)).encode("ascii")).hexdigest()

    def distances(self, metric: "PromptMetric") -> "PairDistances":
        """The distances of pairs of these prompts; whoever asks again shares what is known of them.

        Args:
            metric: what is measured.
        """
        from pytest_injectivity.prompts.metrics import PairDistances

        if metric not in self._distances:
            self._distances[metric] = PairDistances(metric, self.ids)
        return self._distances[metric]

    @cached_property
    def _distances(self) -> "dict[PromptMetric, PairDistances]":
        return {}

    def subset(self, n: int) -> "PromptSet":
        """The ``n`` prompts with the smallest hashes, in this set's order.

        Which prompts these are does not depend on the order of the source, and a smaller subset is
        part of a larger one (SPEC section 2: trends over N/4, N/2, N). The counts of what was
        dropped stay those of the source.

        Raises:
            PromptError: ``n`` is less than 1 or more than the set has.
        """
        if not 1 <= n <= len(self):
            raise PromptError(f"{self.name}: no subset of {n} prompts: give 1 to {len(self)}")
        if n == len(self):
            return self
        chosen = sorted(range(len(self)), key=self.hashes.__getitem__)[:n]
        return self.take(sorted(chosen), f"{self.name}[{n}]")

    def sample(self, n: int, tokens: int, *, at_least: int | None = None) -> PromptSample:
        """The first ``tokens`` ids of ``n`` prompts, no two alike: those of smallest hash.

        Prompts are cut first and counted after, because prompts with a long common beginning are one
        prompt after the cut, and statistics over copies would claim more than was measured. Shorter
        prompts are left out. A smaller sample is part of a larger one of the same length, and neither
        depends on the order of the source.

        Args:
            n: how many.
            tokens: the length of each, in tokens.
            at_least: accept fewer than ``n``, down to this number; None: all ``n`` are needed.

        Raises:
            OptionError: ``n`` or ``tokens`` is below 1, or the set has too few such prompts.

        >>> prompts = PromptSet("set", ((1, 2, 3), (1, 2, 4), (5, 6)), None, special_tokens=False)
        >>> sorted(prompts.sample(2, tokens=2).ids)
        [(1, 2), (5, 6)]
        >>> prompts.sample(3, tokens=2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pytest_injectivity.errors.OptionError: 3 prompts of 2 tokens were asked for, and 2 of 3...
        """
        ranked = sorted(range(len(self)), key=self.hashes.__getitem__)
        first: dict[tuple[int, ...], int] = {}
        for at in ranked if tokens >= 1 else ():
            if len(self.ids[at]) >= tokens:
                first.setdefault(self.ids[at][:tokens], at)
        if n < 1 or len(first) < (n if at_least is None else at_least):
            raise OptionError(
                f"{n} prompts of {tokens} tokens were asked for, and {len(first)} of {len(self)}"
                f" prompts have {tokens} and differ in them: give fewer prompts= or another tokens=,"
                " both at least 1"
            )
        ids, prompts = tuple(first)[:n], tuple(first.values())[:n]
        return PromptSample(ids, prompts, available=len(first))

    def take(self, indices: Iterable[int], name: str) -> "PromptSet":
        """The prompts at ``indices``, in that order, as a set of their own."""
        chosen = list(indices)
        return replace(
            self,
            name=name,
            ids=tuple(self.ids[i] for i in chosen),
            texts=_pick(self.texts, chosen),
            kinds=_pick(self.kinds, chosen),
            bases=_pick(self.bases, chosen),
        )


def _pick(values: tuple[str, ...] | None, indices: Sequence[int]) -> tuple[str, ...] | None:
    return None if values is None else tuple(values[i] for i in indices)
