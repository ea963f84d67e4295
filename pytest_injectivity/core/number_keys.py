"""Typed keys: frozen dataclasses that name what a store keeps, with one canonical serialization.

A number is looked up by everything it depends on. Each room declares the kinds of numbers it computes
as subclasses of `NumberKey`, whose fields are those dependencies, so that the type checker sees when one
is left out. The store hashes `Key.text`; no caller puts a name together by hand.

This module belongs to `core` and not to `store`, because geometry names its numbers too and may not
import the store.
"""

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, ClassVar

_DIGITS = 40


@dataclass(frozen=True)
class Key:
    """Base of all keys.

    Fields may hold None, booleans, whole numbers, floats, texts, dataclasses (other keys among them),
    and tuples of these.
    """

    @cached_property
    def text(self) -> str:
        """The canonical serialization: the same for equal keys, different for different keys.

        Raises:
            TypeError: a field holds something that has no canonical serialization.
        """
        return json.dumps(_plain(self))

    @property
    def digest(self) -> str:
        """The first 40 hexadecimal digits of the SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True)
class NumberKey(Key):
    """Names one number by its kind, which is the subclass, and by what the number depends on.

    The model, the prompts and the code, on which every number of a store's entry depends, are in the
    entry's own key and are not repeated here.

    Attributes:
        together: the fields, such as the layer, in which the numbers of one pass differ.
    """

    together: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def work(self) -> str:
        """The serialization without the fields of `together`: equal for all keys of one pass."""
        return json.dumps(_plain(self, without=self.together))


@dataclass(frozen=True)
class PartKey(NumberKey):
    """Names what a long search has found after one of its parts; kept until the search is done.

    Attributes:
        whole: the key of the number searched for.
        part: the part's number, counted from 1.
        parts: how many parts the search has.
    """

    whole: NumberKey
    part: int
    parts: int


def _plain(value: object, without: tuple[str, ...] = ()) -> Any:
    """Convert a field's value to data that JSON writes in only one way."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        held = {one.name: getattr(value, one.name) for one in fields(value)}
        return {
            "kind": f"{kind.__module__}.{kind.__qualname__}",
            **{name: _plain(one) for name, one in held.items() if name not in without},
        }
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    # Exact types only: an enumeration or a NumPy number would be written like another value.
    if value is None or type(value) in {bool, int, float, str}:
        return value
    raise TypeError(f"a key cannot hold a {type(value).__name__}: {value!r:.80}")
