"""Compares the tokenizer and the chat template of a child with its parent's (SPEC section 7).

Two tokenizers with equal rules are the same one. Rules that are written otherwise may do the same: a
tokenizer made from a ``.gguf`` file has other rules than the one in ``tokenizer.json``. So rules that
differ are tried on texts, and what differs in token ids changes the function.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_injectivity.core.text import number_of
from pytest_injectivity.reference.differences import Difference, Effect, difference

_NONE = "none"
_MOST_TOKENS = 64
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens")
_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "  two spaces,\ta tab,\n\nnew lines \r\n and   three at the end   ",
    "I'll say you've 'quoted' it; don't! WON'T",
    "3.14159 1234567890 1,000,000 0x1F 2026-11-29 007",
    "def f(x):\n    return [i ** 2 for i in range(x)]  # comment",
    "Ünïcödé, naïve café, ﬁne ½ ²",
    "\u00e9 and e\u0301, \u212b and \u00c5",
    "Привет, мир! Ελληνικά",
    "你好、世界。こんにちは 안녕하세요",
    "مرحبا بالعالم नमस्ते दुनिया",
    "👍🏽 👨\u200d👩\u200d👧 \U0001f1e9\U0001f1ea",
    "<|endoftext|><s></s>[INST] <unk> <pad>",
    "\u00a0\u2003\u200b\ufeff",
    "a" * 40 + " " + "ab" * 20 + "!!!???...---",
    "https://example.org/a_b?c=d&e=%20#f user@example.org",
)


def tokenizer_differences(
    child: Any, parent: Any, *, converted: bool = False
) -> tuple[Difference, ...]:
    """The rules in which two tokenizers differ, and what differs of their chat templates.

    Args:
        child: the child's tokenizer; None where it brings none.
        parent: the parent's.
        converted: one of the two was made from a ``.gguf`` file, which writes equal rules otherwise and
            does not name every special token.

    Raises:
        ModelError: a tokenizer cannot encode a text.
    """
    if child is None and parent is None:
        return ()
    if child is None or parent is None:
        kinds = [_NONE if one is None else type(one).__name__ for one in (child, parent)]
        return (difference("tokenizer", kinds, Effect.MAY),)
    found = _template(child, parent)
    rules = [tokenizer_rules(one) for one in (child, parent)]
    if rules[0] is None or rules[0] != rules[1]:
        found += _of_rules(child, parent, rules, converted=converted)
    return (*found, *_special(child, parent, converted=converted))


def tokens_beyond(tokenizers: Sequence[Any], rows: int) -> str:
    """Why rows of a vocabulary past those that two models have may be tokens; empty: none is.

    Args:
        tokenizers: of both models.
        rows: that both models have.

    Example:
        >>> from pytest_injectivity.testing import byte_tokenizer
        >>> two = byte_tokenizer(), byte_tokenizer()
        >>> tokens_beyond(two, 256), tokens_beyond(two, 250)
        ('', 'the tokenizer has 6 tokens from 250 on')
    """
    if None in tokenizers:
        return "without both tokenizers it is not known whether tokens have the other rows"
    child, parent = (one.get_vocab() for one in tokenizers)
    if child != parent:
        return "the tokenizers have other tokens"
    beyond = sum(token >= rows for token in child.values())
    return f"the tokenizer has {number_of(beyond, 'token')} from {rows} on" if beyond else ""


def _template(child: Any, parent: Any) -> list[Difference]:
    templates = [getattr(one, "chat_template", None) for one in (child, parent)]
    if templates[0] == templates[1]:
        return []
    shown = [one or _NONE for one in templates]
    return [difference("chat_template", shown, Effect.CHANGES)]


def _special(child: Any, parent: Any, *, converted: bool) -> list[Difference]:
    """The special tokens that differ, each as its text."""
    found = []
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        texts = [getattr(one, name, None) for one in (child, parent)]
        if texts[0] == texts[1] or (converted and None in texts):
            continue
        effect = Effect.MAY if name == "pad_token" else Effect.CHANGES
        shown = [_NONE if one is None else str(one) for one in texts]
        found.append(difference(f"tokenizer.{name}", shown, effect))
    return found


def _of_rules(
    child: Any, parent: Any, rules: Sequence[str | None], *, converted: bool
) -> list[Difference]:
    """The differences of two tokenizers whose rules are not written alike."""
    vocabularies = [one.get_vocab() for one in (child, parent)]
    # The library adds tokens of its own to a tokenizer that it makes from a .gguf file.
    beyond = _beyond(*vocabularies) if converted else frozenset()
    found = _vocabulary(vocabularies[0], vocabularies[1], beyond)
    written = _written(rules)
    unlike = _unlike_ids(child, parent, beyond)
    if unlike is None:
        if not converted:
            found += [difference(name, parts, Effect.MAY) for name, parts in written]
    else:
        found += [difference(name, parts, Effect.CHANGES) for name, parts in written]
        found.append(unlike)
    return found


def _beyond(child: Mapping[str, int], parent: Mapping[str, int]) -> frozenset[str]:
    """The tokens that one vocabulary has after the last one of the other."""
    ends = [max(one.values(), default=-1) for one in (child, parent)]
    found = ({token for token, at in one.items() if at > min(ends)} for one in (child, parent))
    return frozenset().union(*found)


def _vocabulary(
    child: Mapping[str, int], parent: Mapping[str, int], beyond: frozenset[str]
) -> list[Difference]:
    tokens = (child.keys() | parent.keys()) - beyond
    other = sorted(
        (token for token in tokens if child.get(token) != parent.get(token)),
        key=lambda token: (min(one.get(token, 2**63) for one in (child, parent)), token),
    )
    if not other:
        return []
    first = other[0]
    shown = [
        f"{token_id if (token_id := one.get(first)) is not None else _NONE} for {first!r:.20}"
        for one in (child, parent)
    ]
    return [difference(f"tokenizer.vocab ({len(other):,} tokens)", shown, Effect.CHANGES)]


def _written(rules: Sequence[str | None]) -> list[tuple[str, tuple[str, str]]]:
    """The parts of the rules that are written otherwise, each with both texts."""
    if None in rules:
        return []
    sides = [json.loads(one) for one in rules if one is not None]
    models = [one.get("model") or {} for one in sides]
    parts = [(name, [one.get(name) for one in sides]) for name in _PARTS]
    parts.append(("merges", [list(map(_pair, one.get("merges") or ())) for one in models]))
    options = [
        {key: value for key, value in one.items() if key not in {"vocab", "merges"}}
        for one in models
    ]
    parts.append(("model", list(options)))
    return [
        (f"tokenizer.{name}", (json.dumps(left), json.dumps(right)))
        for name, (left, right) in parts
        if left != right
    ]


def _pair(merge: object) -> object:
    """A merge as its two parts; files of older versions write it as one text."""
    return merge.split(" ", 1) if isinstance(merge, str) else merge


def _unlike_ids(child: Any, parent: Any, left_out: frozenset[str]) -> Difference | None:
    """The first text that the tokenizers give other token ids; None where all are given the same."""
    tokens = sorted({*_added(child), *_added(parent)} - left_out)[:_MOST_TOKENS]
    texts = ("", *_TEXTS, *(f"x{one}y {one} z" for one in tokens))
    for text in texts:
        if any(one in text for one in left_out):
            continue
        for special in (True, False):
            ids = [
                list(one(text, add_special_tokens=special)["input_ids"]) for one in (child, parent)
            ]
            if ids[0] != ids[1]:
                name = f"ids of {text!r:.24}" if text else "ids around a text"
                return difference(name, ids, Effect.CHANGES)
    return None


def _added(tokenizer: Any) -> list[str]:
    """The tokens that a text is searched for before it is split."""
    return [] if (found := getattr(tokenizer, "get_added_vocab", None)) is None else list(found())


def tokenizer_rules(tokenizer: Any) -> str | None:
    """Everything that decides how a tokenizer splits a text, as JSON; None if not known."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return None if backend is None else str(backend.to_str())
