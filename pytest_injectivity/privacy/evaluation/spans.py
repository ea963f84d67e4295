"""Counts the named spans of a text that were read exactly: numbers, addresses, names.

Half of the tokens of a text may hold every name in it or none, so a token rate alone says little to the
owner of the text. A span counts as read when every token that holds a part of it was read.

Spans are found by the regular expressions below, and not by a trained recognizer. Numbers, e-mail
addresses and web addresses are found nearly always. "Names" are words that begin with a capital letter
inside a sentence, or several such words in a row: headings and German nouns are among them, and names in
small letters are not. Further patterns can be given.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pytest_injectivity.core.shapes import Bool
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.evaluation.texts import decoded

PATTERNS: Mapping[str, str] = {
    "web address": r"\b(?:https?|ftp)://[^\s<>\"']+|\bwww\.[^\s<>\"']+",
    "e-mail address": r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b",
    "number": r"(?<![\w.])[+-]?\d(?:[\d.,:/\s-]*\d)?(?![\w])",
    "name": (
        r"\b[A-Z][\w'’-]+(?:\s+(?:(?:van|von|de|la|al|bin)\s+)?[A-Z][\w'’-]+)+"  # noqa: RUF001
        r"|(?<=[a-z,;]\s)[A-Z][\w'’-]+"  # noqa: RUF001
    ),
}
"""Kinds of spans, tried in this order; a part of a text belongs to the first kind that finds it."""


@dataclass(frozen=True)
class Span:
    """A named part of a text.

    Attributes:
        kind: the name of its kind.
        start: index of its first character.
        end: index after its last character.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class SpanRate:
    """How many spans of one kind were read.

    Attributes:
        kind: the kind.
        read: number of spans read exactly.
        found: number of spans in the prompts.
    """

    kind: str
    read: int
    found: int

    @property
    def value(self) -> float:
        """The share of spans read exactly."""
        return self.read / self.found


def find_spans(text: str, given: Mapping[str, str] | None = None) -> tuple[Span, ...]:
    """The named spans of a text, in order and without overlaps.

    Args:
        text: the true text.
        given: regular expressions of further kinds, by name, tried before the built-in ones.

    Raises:
        OptionError: a pattern is not a regular expression.
    """
    taken = np.zeros(len(text), dtype=bool)
    spans = []
    for kind, pattern in {**(given or {}), **PATTERNS}.items():
        for found in _compiled(kind, pattern).finditer(text):
            start, end = found.span()
            if start < end and not taken[start:end].any():
                taken[start:end] = True
                spans.append(Span(kind, start, end))
    return tuple(sorted(spans, key=lambda span: span.start))


def offsets_of(tokenizer: Any, ids: Sequence[int]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text of token ids, and the characters that each token holds a part of.

    A token that ends within a character holds a part of it, and so does the token that completes it.

    Args:
        tokenizer: the model's tokenizer.
        ids: the token ids of the prompt.

    Returns:
        The text, and for each token the index of its first character and the index after its last.
    """
    lengths = [0]
    for count in range(1, len(ids) + 1):
        text = decoded(tokenizer, ids[:count]).rstrip("\ufffd")
        lengths.append(max(lengths[-1], len(text)))
    whole = decoded(tokenizer, ids)
    lengths[-1] = len(whole)
    return whole, tuple(
        (start, min(len(whole), max(end, start + 1))) for start, end in pairwise(lengths)
    )


def span_rates(
    prompts: Sequence[tuple[str, Sequence[tuple[int, int]]]],
    right: Bool[np.ndarray, "prompts tokens"],
    judged: Bool[np.ndarray, "prompts tokens"],
    given: Mapping[str, str] | None = None,
    recognized: Sequence[Sequence[Span]] | None = None,
) -> tuple[SpanRate, ...]:
    """Counts the spans of each kind that were read exactly, by kind.

    Args:
        prompts: the text of each prompt, and the characters of each of its tokens (`offsets_of`).
        right: which tokens were read, as `AttackResult.right`.
        judged: which tokens an attacker was asked for. Known tokens count as read, and a span of known
            tokens alone is not counted.
        given: see `find_spans`.
        recognized: further spans of each prompt; None: there are none.
    """
    counts: dict[str, list[int]] = {}
    further = [()] * len(prompts) if recognized is None else recognized
    for (text, offsets), got, asked, more in zip(prompts, right, judged, further, strict=True):
        starts, ends = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
        for span in (*find_spans(text, given), *more):
            holds = np.flatnonzero((starts < span.end) & (ends > span.start))
            if asked[holds].any():
                kept = counts.setdefault(span.kind, [0, 0])
                kept[0] += bool((got | ~asked)[holds].all())
                kept[1] += 1
    return tuple(SpanRate(kind, *counts[kind]) for kind in sorted(counts))


def _compiled(kind: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise OptionError(
            f"spans {kind!r}: {pattern!r} is not a regular expression ({error})"
        ) from None
