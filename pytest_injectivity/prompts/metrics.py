"""Computes distances between prompts: the ``d_S`` of SPEC section 2.

Flags and arguments name a metric by one grammar::

    metric = ("levenshtein" | "hamming") ["/length"]

Both count edits between token ids, Hamming between prompts of equal length only; ``/length`` divides
the count by the longer length. Levenshtein divided by the length is no metric in the strict sense: of
``ab``, ``aba``, ``ba`` the outer two are 1 apart, and each is 1/3 from the middle one. Nothing here
relies on the triangle inequality.

Each prompt is encoded as a string with one character for each token id, because rapidfuzz compares
strings in C++ (1.7 s for a million pairs of 8 to 128 tokens, on one core). Distances are kept for the
next layer, which asks for many of the same pairs (`known_pairs`).
"""

import copy
from collections.abc import Sequence
from enum import Enum
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from rapidfuzz.distance import Hamming, Levenshtein
from rapidfuzz.process import cpdist

from pytest_injectivity.core.shapes import Bool, Float64, Int, Int64, UInt16
from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.known_pairs import KnownPairs

# Edit distances that take far longer than starting threads does.
_WORTH_THREADS = 256

Lengths: TypeAlias = int | np.integer[Any] | Int[np.ndarray, "..."]

_SURROGATES = range(0xD800, 0xE000)  # code points that stand for no character
_CHARACTERS = 0x110000 - len(_SURROGATES)


class PromptMetric(Enum):
    """A prompt metric; its value is the text that names it.

    Lengths are numbers of tokens: integers, or integer arrays that broadcast against each other.
    """

    LEVENSHTEIN = "levenshtein"
    LEVENSHTEIN_PER_LENGTH = "levenshtein/length"
    HAMMING = "hamming"
    HAMMING_PER_LENGTH = "hamming/length"

    @classmethod
    def parse(cls, text: str) -> "PromptMetric":
        """Parses the text that names a metric.

        Raises:
            OptionError: the text names no metric.
        """
        try:
            return cls(text.strip().lower())
        except ValueError:
            accepted = ", ".join(repr(metric.value) for metric in cls)
            raise OptionError(
                f"prompt metric {text!r} is not known: give one of {accepted}"
            ) from None

    @property
    def per_length(self) -> bool:
        """Whether the number of edits is divided by the longer length."""
        return self in (PromptMetric.LEVENSHTEIN_PER_LENGTH, PromptMetric.HAMMING_PER_LENGTH)

    @property
    def equal_lengths_only(self) -> bool:
        """Whether the metric is defined between prompts of equal length only."""
        return self in (PromptMetric.HAMMING, PromptMetric.HAMMING_PER_LENGTH)

    def admissible(self, left: Lengths, right: Lengths) -> Bool[np.ndarray, "..."]:
        """Whether the metric is defined between prompts of these lengths."""
        left, right = np.broadcast_arrays(left, right)
        return np.asarray(left == right) if self.equal_lengths_only else np.ones(left.shape, bool)

    def upper_bound(self, left: Lengths, right: Lengths) -> Float64[np.ndarray, "..."]:
        """The largest value the metric can take between prompts of these lengths.

        That is the longer length, or 1 where the metric is divided by it. Inadmissible pairs have
        the bound they would have had: mask them with `admissible`.
        """
        longer = np.asarray(np.maximum(left, right), np.float64)
        return np.ones_like(longer) if self.per_length else longer


class PairDistances:
    """Distances of many pairs of one prompt set, whose ids are encoded once.

    Args:
        metric: what is measured.
        ids: the token ids of each prompt.

    Raises:
        PromptError: the set has more distinct ids than there are characters (1,112,064).
    """

    def __init__(self, metric: PromptMetric, ids: Sequence[Sequence[int]]) -> None:
        self.metric = metric
        self.lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        self._strings = _as_strings(ids, self.lengths)
        self._prompts = np.arange(len(ids))
        self._known = KnownPairs(len(ids))
        self._every: tuple[bytes, Float64[np.ndarray, "some some"]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_every": None}

    def __call__(
        self,
        left: Int[np.ndarray, " pairs"],
        right: Int[np.ndarray, " pairs"],
        *,
        threads: int = 1,
    ) -> Float64[np.ndarray, " pairs"]:
        """The distance of each pair of indices ``(left[k], right[k])``; inf if not admissible.

        Args:
            left: indices of prompts.
            right: likewise.
            threads: among which many pairs are divided.
        """
        left_lengths, right_lengths = self.lengths[left], self.lengths[right]
        admissible = self.metric.admissible(left_lengths, right_lengths)
        distances = np.full(left.shape, np.inf)
        distances[admissible] = self._edits(left[admissible], right[admissible], threads)
        if self.metric.per_length:
            # Two empty prompts are 0 apart, not 0 / 0.
            distances /= np.maximum(np.maximum(left_lengths, right_lengths), 1)
        return distances

    def _edits(
        self, left: Int[np.ndarray, " pairs"], right: Int[np.ndarray, " pairs"], threads: int
    ) -> Float64[np.ndarray, " pairs"]:
        """The numbers of edits of admissible pairs; those that are known are not computed again."""
        names = self._known.names(self._prompts[left], self._prompts[right])
        known, edits = self._known.look_up(names)
        new = np.flatnonzero(~known)
        edits[new] = cpdist(
            self._strings[left[new]],
            self._strings[right[new]],
            scorer=Hamming.distance if self.metric.equal_lengths_only else Levenshtein.distance,
            dtype=np.float64,
            workers=threads if len(new) >= _WORTH_THREADS else 1,
        )
        self._known.keep(names[new], edits[new])
        return edits

    def token_bags(self, buckets: int) -> UInt16[np.ndarray, "prompts buckets"]:
        """Counts the tokens of each prompt by hash bucket.

        The n-th occurrence of a token is hashed together with n, as a token of its own. The inner
        product of two prompts' counts is at least the number of tokens they have in common, in any
        order; the longer length minus that is at most their Levenshtein and Hamming distance.
        """
        prompt = np.repeat(np.arange(len(self.lengths)), self.lengths)
        code = np.frombuffer("".join(self._strings).encode("utf-32-le", "surrogatepass"), "<u4")
        order = np.lexsort((code, prompt))
        prompt, code = prompt[order], code[order].astype(np.uint64)
        new = np.ones(len(code), bool)
        new[1:] = (prompt[1:] != prompt[:-1]) | (code[1:] != code[:-1])
        starts = np.flatnonzero(new)
        nth = np.arange(len(code)) - np.repeat(starts, np.diff([*starts, len(code)]))
        # Multiplication by odd numbers scatters the bits; that it wraps around is intended.
        mixed = code * np.uint64(0x9E3779B97F4A7C15) + nth.astype(np.uint64) * np.uint64(
            0xC2B2AE3D27D4EB4F
        )
        bucket = ((mixed >> np.uint64(40)) % np.uint64(buckets)).astype(np.int64)
        counts = np.bincount(prompt * buckets + bucket, minlength=len(self.lengths) * buckets)
        return counts.astype(np.uint16).reshape(-1, buckets)

    def alphabetical(self) -> Int64[np.ndarray, " prompts"]:
        """The prompts in an order that puts those with a common beginning side by side."""
        return np.array(sorted(range(len(self._strings)), key=self._strings.__getitem__), np.int64)

    def every_pair(self, rows: Int64[np.ndarray, " some"]) -> Float64[np.ndarray, "some some"]:
        """The distances of each two of some prompts; infinite of a prompt itself, or where inadmissible.

        They are kept for whoever asks next: several models are compared on one prompt set.

        Args:
            rows: indices of the prompts, few enough for a matrix of them all.
        """
        name = rows.tobytes()
        if self._every is None or self._every[0] != name:
            left, right = np.triu_indices(len(rows), 1)
            every = np.full((len(rows), len(rows)), np.inf)
            every[left, right] = every[right, left] = self(rows[left], rows[right])
            self._every = name, every
        return self._every[1]

    def take(self, kept: Int[np.ndarray, " kept"], *, afresh: bool = False) -> "PairDistances":
        """The distances among some of the prompts, in the order given.

        Args:
            kept: indices of the prompts.
            afresh: compute distances although they are known, which takes the time of a first search.
        """
        taken = copy.copy(self)
        taken.lengths = self.lengths[kept]
        # What is known of the pairs is shared: prompts keep their numbers.
        taken._prompts = self._prompts[kept]  # noqa: SLF001 - of its own class
        if afresh:
            taken._known = KnownPairs(len(kept))  # noqa: SLF001 - of its own class
            taken._prompts = np.arange(len(kept))  # noqa: SLF001 - of its own class
        taken._every = None  # noqa: SLF001 - of its own class
        taken._strings = self._strings[kept]  # noqa: SLF001 - of its own class
        return taken


def _as_strings(ids: Sequence[Sequence[int]], lengths: Int[np.ndarray, " prompts"]) -> np.ndarray:
    """One string a prompt in an object array: equal characters where ids are equal, only there.

    Ids are numbered densely first: a vocabulary may be larger than Unicode, and small numbers make
    strings of one or two bytes a character.
    """
    flat = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
    distinct, codes = np.unique(flat, return_inverse=True)
    if len(distinct) > _CHARACTERS:
        raise PromptError(
            f"the prompts have {len(distinct)} distinct token ids: prompt metrics take up to"
            f" {_CHARACTERS}"
        )
    codes = codes.astype("<u4")
    codes[codes >= _SURROGATES.start] += len(_SURROGATES)
    text = codes.tobytes().decode("utf-32-le")
    ends = np.cumsum(lengths).tolist()
    strings = np.empty(len(lengths), object)
    strings[:] = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return strings
