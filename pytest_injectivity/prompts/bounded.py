"""Encodes no more of a text than shows that it is longer than the context.

A text of 24 MB takes a tokenizer a minute and gigabytes, only to be refused or dropped for its length.
So a long text is encoded from its beginning on, twice as much each time, until its beginning alone has
more than twice as many tokens as the context. What follows a beginning can change its last tokens, and
not half of them.
"""

from typing import NamedTuple

from pytest_injectivity.prompts.framing import Tokenizer, encode

_TIMES = 8  # characters of the first beginning, for each token of the context
_LEAST = 4096
_SPARE = 64  # tokens


class Encoded(NamedTuple):
    """The token ids of a text, or of a beginning of it that is longer than the context already."""

    ids: tuple[int, ...]
    whole: bool


def encode_up_to(tokenizer: Tokenizer, texts: list[str], context: int | None) -> list[Encoded]:
    """The token ids of texts without special tokens; of overlong ones those of a beginning.

    Args:
        tokenizer: the model's.
        texts: the texts.
        context: the longest prompt in tokens; None: all texts are encoded whole.
    """
    if context is None:
        return [Encoded(ids, whole=True) for ids in encode(tokenizer, texts, framed=False)]
    found: dict[int, Encoded] = {}
    length = max(_LEAST, _TIMES * context)
    waiting = list(range(len(texts)))
    while waiting:
        parts = [texts[at][:length] for at in waiting]
        for at, ids in zip(waiting, encode(tokenizer, parts, framed=False), strict=True):
            found[at] = Encoded(ids, whole=len(texts[at]) <= length)
        enough = 2 * context + _SPARE
        waiting = [at for at in waiting if not (found[at].whole or len(found[at].ids) > enough)]
        length *= 2
    return [found[at] for at in range(len(texts))]
