"""Typed keys: frozen dataclasses that name what a store keeps, with one canonical serialisation.

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
        """The canonical serialisation: the same for equal keys, another for every other key.

        Raises:
            TypeError: a field holds something that has no canonical serialisation.
        """
        return json.dumps(_plain(self))

    @property
    def digest(self) -> str:
        """The first 40 hexadecimal digits of the SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True)
class NumberKey(Key):
    """Names one number by its kind, which is the subclass, and by what the number depends on.

    What every number of an entry of the store depends on (the model, the prompts, the code) is in the
    entry's own key and is not repeated here.

    Attributes:
        together: the fields in which numbers differ that one pass computes together, such as the layer.
    """

    together: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def work(self) -> str:
        """The serialisation without the fields of `together`: equal for keys that one pass computes."""
        return json.dumps(_plain(self, without=self.together))


@dataclass(frozen=True)
class PartKey(NumberKey):
    """What a long search has found after one of its parts; kept until the whole number is there.

    Attributes:
        whole: the number that the search is for.
        part: which part, counted from 1.
        parts: how many parts the search has.
    """

    whole: NumberKey
    part: int
    parts: int


def _plain(value: object, without: tuple[str, ...] = ()) -> Any:
    """A field's value as what JSON writes in one way only."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        held = {one.name: getattr(value, one.name) for one in fields(value)}
        return {
            "kind": f"{kind.__module__}.{kind.__qualname__}",
            **{name: _plain(one) for name, one in held.items() if name not in without},
        }
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    # Exact types: an enumeration or a number of NumPy would be written as what it is not.
    if value is None or type(value) in {bool, int, float, str}:
        return value
    raise TypeError(f"a key cannot hold a {type(value).__name__}: {value!r:.80}")
