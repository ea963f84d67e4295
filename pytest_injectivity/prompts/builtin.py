"""Built-in prompt sets, made of text and tokens that every machine has.

``builtin:stdlib``             docstrings and code windows of this Python's standard library
``builtin:random``             1,000 windows of uniform random tokens, as long as `RANDOM_LENGTH`
``builtin:challenge``          near-duplicates made from ``builtin:stdlib``
``builtin:challenge(SOURCE)``  near-duplicates made from any other source
``builtin:challenge(probes)``  texts of ``builtin:stdlib`` that end in the same tokens (see `probes`)
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias, cast

import numpy as np

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.framing import Tokenizer, ids_frame
from pytest_injectivity.prompts.known_tokens import known_tokens
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.probes import PROBES
from pytest_injectivity.prompts.rows import Row
from pytest_injectivity.prompts.settings import Settings

BuiltinName: TypeAlias = Literal["stdlib", "random", "challenge", "probes"]

PREFIX = "builtin:"
RANDOM_PROMPTS = 1000
RANDOM_LENGTH = 32  # or the context, where that is shorter

_GRAMMAR = re.compile(r"(stdlib|random|challenge)(?:\((.+)\))?", re.DOTALL)


class Builtin(NamedTuple):
    """A built-in set by name, and the source that it is made from."""

    name: BuiltinName
    argument: str | None


def parse_builtin(source: str) -> Builtin | None:
    """Read the name of a built-in set; None if the source names a file.

    Raises:
        PromptError: there is no such built-in set, or it takes no argument.
    """
    if not source.startswith(PREFIX):
        return None
    found = _GRAMMAR.fullmatch(source.removeprefix(PREFIX))
    if found is None or (found[2] and found[1] != "challenge"):
        raise PromptError(
            f"{source!r} is not a built-in prompt set: give builtin:stdlib, builtin:random,"
            " builtin:challenge, builtin:challenge(probes), or builtin:challenge(SOURCE) with a file or"
            " another built-in set"
        )
    if found[2] == PROBES:
        return Builtin("probes", None)
    return Builtin(cast("BuiltinName", found[1]), found[2])


def stdlib_rows(tokenizer: Tokenizer | None) -> Iterator[Row]:
    """The texts of the standard library.

    Raises:
        PromptError: there is no tokenizer.
    """
    if tokenizer is None:
        raise PromptError(
            "builtin:stdlib is text and this model has no tokenizer: give builtin:random, or a file"
            ' of {"ids": [...]} rows'
        )
    # Imported here, because reading the library takes seconds that other sources need not.
    from pytest_injectivity.prompts.stdlib import stdlib_texts

    for index, text in enumerate(stdlib_texts()):
        yield Row(text, Place("builtin:stdlib", "text", index))


def random_rows(tokenizer: Tokenizer | None, settings: Settings) -> Iterator[Row]:
    """Rows of token ids, uniform over the tokenizer's tokens, drawn from the seed.

    Without a tokenizer they are uniform over the embedding's rows.

    There are ``max_prompts`` of them (1,000 by default), and each makes a prompt of ``length``
    tokens (by default 32, or the context where that is shorter), BOS included where asked for.

    Raises:
        PromptError: the number of embedding rows is not known.
    """
    if settings.vocab_size is None:
        raise PromptError(
            "builtin:random draws token ids from the model's embedding: give vocab_size"
        )
    length = settings.length or min(RANDOM_LENGTH, settings.context or RANDOM_LENGTH)
    frame = ids_frame(tokenizer, settings.special_tokens)
    count = settings.max_prompts or RANDOM_PROMPTS
    shape = (count, length - len(frame))
    known = known_tokens(tokenizer, settings.vocab_size)
    drawn = np.random.default_rng(settings.seed).integers(len(known), size=shape)
    for index, ids in enumerate(known[drawn].tolist()):
        # BOS is added here, because a random row that begins with it would be taken to have it already.
        yield Row(frame.around(tuple(ids)), Place("builtin:random", "window", index))
