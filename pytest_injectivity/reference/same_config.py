"""Compares the configuration of a child with its parent's, field by field (SPEC section 7)."""

import math
import sys
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import Any

from pytest_injectivity.reference.config_fields import effect_of, effective_fields, is_neutral
from pytest_injectivity.reference.differences import Difference, Effect, difference
from pytest_injectivity.reference.same_tokenizer import tokens_beyond

# What a GGUF file holds in 32 bits differs from the decimal number by no more than this.
_FLOAT32 = 1e-6
_ABSENT = "absent"
# A configuration of one kind computes what one of the other does whose fields are equal.
_ALIKE = frozenset({"llama", "mistral"})
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def config_differences(
    child: Any, parent: Any, tokenizers: tuple[Any, Any] = (None, None), *, converted: bool = False
) -> tuple[Difference, ...]:
    """The fields in which two configurations differ and that change, or may change, the function.

    Args:
        child: the child's, of transformers, which fills in defaults.
        parent: the parent's.
        tokenizers: of the child and of the parent: an id of a special token that a configuration does
            not say is its tokenizer's.
        converted: one of the two was made from the metadata of a ``.gguf`` file, which say no field that
            the library's class does not declare, and one end of text where there are several.

    Example:
        >>> from transformers import LlamaConfig
        >>> found = config_differences(LlamaConfig(rms_norm_eps=1e-5), LlamaConfig())
        >>> [one.words for one in found]
        ['rms_norm_eps 1e-05 (parent 1e-06)']
    """
    kinds = [one.get_text_config().model_type for one in (child, parent)]
    found = []
    if kinds[0] != kinds[1] and not _ALIKE.issuperset(kinds):
        found.append(difference("model_type", kinds, Effect.MAY))
    fields = [effective_fields(one) for one in (child, parent)]
    declared = [type(one.get_text_config()) for one in (child, parent)]
    for name in sorted(fields[0].keys() | fields[1].keys()):
        values = [one.get(name, _ABSENT) for one in fields]
        effect = effect_of(name)
        if effect is None or _equal(name, *values) or _padded(name, values, tokenizers):
            continue
        if all(_declares(one, name.partition(".")[0]) for one in declared):
            found.append(difference(name, values, effect))
        elif not converted or _ABSENT not in values:
            # The library's own code rarely reads what its class does not declare.
            found.append(difference(name, values, Effect.MAY))
    found += _special_ids(child, parent, tokenizers, converted=converted)
    order = list(Effect)
    return tuple(sorted(found, key=lambda one: order.index(one.effect)))


def _padded(field: str, values: list[object], tokenizers: tuple[Any, Any]) -> bool:
    """Whether vocabularies differ in rows that no token has."""
    sizes = [one for one in values if isinstance(one, int)]
    return field == "vocab_size" and len(sizes) > 1 and not tokens_beyond(tokenizers, min(sizes))


def _declares(kind: Any, name: str) -> bool:
    """Whether a class of configurations has a field."""
    own = {one.name for one in fields_of(kind)} if is_dataclass(kind) else set()
    return name in own or hasattr(kind, name)


def _equal(field: str, child: object, parent: object) -> bool:
    if _ABSENT in (child, parent):
        other = parent if child == _ABSENT else child
        return other == _ABSENT or is_neutral(field, other)
    if isinstance(child, list) and isinstance(parent, list):
        same_length = len(child) == len(parent)
        return same_length and all(map(_same, child, parent))
    return _same(child, parent) or (is_neutral(field, child) and is_neutral(field, parent))


def _same(child: object, parent: object) -> bool:
    if isinstance(child, bool) or isinstance(parent, bool):
        return child is parent
    if isinstance(child, (int, float)) and isinstance(parent, (int, float)):
        if child == parent or (isinstance(child, int) and isinstance(parent, int)):
            return child == parent
        # An integer beyond all floats is near none of them.
        small = max(abs(child), abs(parent)) <= sys.float_info.max
        return small and math.isclose(child, parent, rel_tol=_FLOAT32)
    return child == parent


def _special_ids(
    child: Any, parent: Any, tokenizers: tuple[Any, Any], *, converted: bool
) -> list[Difference]:
    """The differences of the ids that begin, end and fill a text."""
    found = []
    for name in _IDS:
        ids = [
            _ids(getattr(one.get_text_config(), name, None), getattr(tokenizer, name, None))
            for one, tokenizer in zip((child, parent), tokenizers, strict=True)
        ]
        if ids[0] == ids[1]:
            continue
        if converted and (not all(ids) or ids[0] <= ids[1] or ids[1] <= ids[0]):
            continue
        effect = Effect.MAY if name == "pad_token_id" or not all(ids) else Effect.CHANGES
        found.append(difference(name, map(_shown, ids), effect))
    return found


def _ids(said: object, tokenizers: object) -> frozenset[int]:
    """The ids that a configuration says, else its tokenizer's."""
    given = tokenizers if said is None else said
    several = given if isinstance(given, (list, tuple)) else [given]
    return frozenset(one for one in several if isinstance(one, int))


def _shown(ids: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(ids))) or "none"
