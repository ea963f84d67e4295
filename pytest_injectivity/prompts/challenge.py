"""Makes near-duplicates of prompts: the pairs that a model is most likely to confuse.

The closest pairs among 100,000 natural prompts are code that differs only in trailing newlines ([N],
SPEC section 6). A challenge set makes such pairs on purpose: families of one base prompt and its
variants, each of a named kind, so that a report can say which kind collides.

==================================  ==========================================================
``newline`` ``space``               one or two more at the end
``punctuation``                     another mark at the end, or none
``case``                            lower, upper, the first letter swapped
``number``                          another number where the text has one, or one at its end
``repeat``                          the last token once, twice, 15 and 16 times more; one doubled
``first-`` ``middle-`` ``last-token``  one token changed: exactly one edit from the base
==================================  ==========================================================

The first five are made from the text, the others from the token ids (so bases of ids have only
these). Tokens are changed to tokens that occur in the set. A variant longer than the context is not
made, nor, where a length is asked for, one of another length.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.framing import (
    PROBED,
    Frame,
    Tokenizer,
    encode,
    ids_frame,
    text_frame,
)
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.prompts.sampling import check_ids
from pytest_injectivity.prompts.settings import Settings
from pytest_injectivity.prompts.variants import Variant, gathered

TOKEN_EDITS = ("first-token", "middle-token", "last-token")
KINDS = ("newline", "space", "punctuation", "case", "number", "repeat", *TOKEN_EDITS)

_REPEATS = (1, 2, 15, 16)  # 15 and 16: what tells long repetitions apart fades with their number
_EDITS = 2  # replacements tried at each position
_NUMBER = re.compile(r"\d+")
_MARKS = ".!?,;:"


# A variant before it is framed: its kind, its own tokens, its text.
_Made = tuple[str, tuple[int, ...], str | None]


def challenge_set(
    base: PromptSet,
    tokenizer: Tokenizer | None,
    settings: Settings,
    *,
    kinds: Collection[str] = KINDS,
) -> PromptSet:
    """Makes families of base prompts and their near-duplicates.

    Bases come in the order of their salted hashes, each followed by its variants, until there are
    ``max_prompts`` (1,000 by default): which they are depends on the seed, not on the base's order.

    Args:
        base: the prompts to make variants of, loaded with the same settings.
        tokenizer: the model's; None makes the kinds that need no text.
        settings: length, special tokens, number of prompts, seed, context and vocabulary.
        kinds: the kinds to make, of `KINDS`.

    Returns:
        A set with ``kinds`` and ``bases``. Its dropped duplicates and texts that the tokenizer cannot
        tell apart are the base's and those among the variants; ``left_out`` counts bases.

    Raises:
        PromptError: the base is a challenge set, a token id exceeds the embedding, or no
            variant can be made.
    """
    if base.kinds is not None:
        raise PromptError(f"{base.name} is a challenge set already: name the texts to make one of")
    maker = _Maker.of(base, tokenizer, settings, kinds)
    return gathered(base, settings, maker.family, name=base.name, what="near-duplicate")


@dataclass(frozen=True)
class _Maker:
    """Makes the families of one base; ``tokenizer`` is None where variants have no text."""

    base: PromptSet
    tokenizer: Tokenizer | None
    frame: Frame
    vocabulary: Int64[np.ndarray, " tokens"]
    settings: Settings
    kinds: Collection[str]

    @classmethod
    def of(
        cls,
        base: PromptSet,
        tokenizer: Tokenizer | None,
        settings: Settings,
        kinds: Collection[str],
    ) -> "_Maker":
        if base.texts is None or tokenizer is None:
            frame, tokenizer = ids_frame(tokenizer, settings.special_tokens), None
        elif base.templated:
            frame = ids_frame(tokenizer, settings.special_tokens)
        else:
            frame = text_frame(tokenizer, settings.special_tokens, base.texts[:PROBED])
        occurring = {token for ids in base.ids for token in frame.inside(ids)}
        vocabulary = np.array(sorted(occurring), np.int64)
        return cls(base, tokenizer, frame, vocabulary, settings, kinds)

    def family(self, index: int) -> Iterator[Variant]:
        """A base prompt, then its variants."""
        ids, digest = self.base.ids[index], self.base.hashes[index]
        text = None if self.base.texts is None else self.base.texts[index]
        yield Variant("base", digest, ids, text)
        # Seeded by the base, so that a family does not depend on which others are in the set.
        random = np.random.default_rng([self.settings.seed, int(digest[:16], 16)])
        made = (*self._from_text(text, random), *self._from_ids(self.frame.inside(ids), random))
        for kind, body, made_text in made:
            framed = self.frame.around(body)
            if kind in self.kinds and body and self._fits(framed):
                place = f"{self.base.name}, {kind} variant of prompt {index}"
                check_ids(framed, self.settings.vocab_size, place)
                yield Variant(kind, digest, framed, made_text)

    def _from_text(self, text: str | None, random: np.random.Generator) -> Iterator[_Made]:
        if text is None or self.tokenizer is None:
            return
        made = list(text_variants(text, int(random.integers(10, 9999))))
        bodies = encode(self.tokenizer, [variant for _, variant in made], framed=False)
        for (kind, variant), body in zip(made, bodies, strict=True):
            yield kind, self.frame.inside(body) if self.base.templated else body, variant

    def _from_ids(self, body: tuple[int, ...], random: np.random.Generator) -> Iterator[_Made]:
        for kind, ids in token_variants(body, self.vocabulary, random):
            yield kind, ids, None if self.tokenizer is None else self.tokenizer.decode(list(ids))

    def _fits(self, ids: tuple[int, ...]) -> bool:
        if self.settings.length is not None:
            return len(ids) == self.settings.length
        return self.settings.context is None or len(ids) <= self.settings.context


def text_variants(text: str, number: int) -> Iterator[tuple[str, str]]:
    """The near-duplicates of a text with their kinds; ``number`` is the first put into it."""
    for more in ("\n", "\n\n"):
        yield "newline", text + more
    for more in (" ", "  "):
        yield "space", text + more
    stem = text.rstrip().rstrip(_MARKS)
    for mark in ("", *_MARKS[:3]):
        if stem + mark != text:
            yield "punctuation", stem + mark
    for cased in (text.lower(), text.upper(), text[:1].swapcase() + text[1:]):
        if cased != text:
            yield "case", cased
    for value in (number, number + 1, number + 10):
        filled, found = _NUMBER.subn(str(value), text, count=1)
        yield "number", filled if found else f"{text} {value}"


def token_variants(
    body: tuple[int, ...], vocabulary: Int64[np.ndarray, " tokens"], random: np.random.Generator
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The near-duplicates of token ids with their kinds; tokens are changed to those given."""
    for times in _REPEATS:
        yield "repeat", body + body[-1:] * times
    middle = len(body) // 2
    yield "repeat", (*body[:middle], body[middle], *body[middle:])
    # A short prompt has fewer places than kinds; its last token is its last first of all.
    places = {len(body) - 1: "last-token"}
    places.setdefault(0, "first-token")
    places.setdefault(middle, "middle-token")
    for place, kind in sorted(places.items()):
        others = vocabulary[vocabulary != body[place]]
        for token in random.choice(others, min(_EDITS, len(others)), replace=False).tolist():
            yield kind, (*body[:place], token, *body[place + 1 :])
