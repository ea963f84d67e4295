"""Serializes frozen dataclasses of arrays and plain data for the store.

The bytes are those of a safetensors file: the arrays are its tensors, and a JSON tree of everything
else is in its metadata. Nothing is unpickled: reading builds dataclasses and enumerations of this
package only.
"""

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from itertools import chain, pairwise
from typing import Any

import numpy as np
from safetensors.numpy import load, save

_PACKAGE = __name__.partition(".")[0]
_TREE = "tree"
_HEADER_LENGTH = 8


def to_bytes(value: object) -> bytes:
    """Serializes a value.

    Args:
        value: None, numbers, texts, arrays, enumerations of this package, and lists, tuples,
            dictionaries and dataclasses of them.

    Raises:
        TypeError: the value holds something else.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = _to_tree(value, arrays)
    return bytes(save(arrays, {_TREE: json.dumps(tree)}))


def from_bytes(data: bytes) -> Any:
    """Reads a value back from the bytes of `to_bytes`; floats and arrays are the same bit for bit."""
    length = int.from_bytes(data[:_HEADER_LENGTH], "little")
    header = json.loads(data[_HEADER_LENGTH : _HEADER_LENGTH + length])
    return _from_tree(json.loads(header["__metadata__"][_TREE]), load(data))


def _to_tree(value: object, arrays: dict[str, np.ndarray]) -> Any:
    """Encodes a value as JSON: what JSON has no type for becomes an object ``{kind: content}``."""
    tree: Any
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(value)
        tree = {"array": name}
    elif isinstance(value, Enum):
        tree = {"enum": [_name(type(value)), value.name]}
    elif value is None or isinstance(value, (bool, int, float, str)):
        tree = value
    elif isinstance(value, tuple) and _are_rows(value):
        ends = np.cumsum([len(row) for row in value])
        flat = np.fromiter(chain.from_iterable(value), dtype=np.int64, count=int(ends[-1]))
        tree = {"rows": [_to_tree(one, arrays) for one in (flat, ends)]}
    elif isinstance(value, (list, tuple)):
        items = [_to_tree(one, arrays) for one in value]
        tree = items if isinstance(value, list) else {"tuple": items}
    elif isinstance(value, dict):
        tree = {"dict": [_to_tree(pair, arrays) for pair in value.items()]}
    elif is_dataclass(value) and not isinstance(value, type):
        held = {field.name: _to_tree(getattr(value, field.name), arrays) for field in fields(value)}
        tree = {"dataclass": [_name(type(value)), held]}
    else:
        raise TypeError(f"a {type(value).__name__} is no plain data: {value!r:.80}")
    return tree


def _from_tree(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_from_tree(one, arrays) for one in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    value: Any
    if kind == "array":
        value = arrays[content]
    elif kind == "enum":
        value = _class(content[0])[content[1]]
    elif kind == "dataclass":
        held = {name: _from_tree(one, arrays) for name, one in content[1].items()}
        value = _class(content[0])(**held)
    elif kind == "rows":
        flat, ends = (_from_tree(one, arrays).tolist() for one in content)
        value = tuple(tuple(flat[start:end]) for start, end in pairwise([0, *ends]))
    else:
        items = [_from_tree(one, arrays) for one in content]
        value = tuple(items) if kind == "tuple" else dict(items)
    return value


def _are_rows(value: tuple[object, ...]) -> bool:
    """Whether a tuple holds tuples of whole numbers, as prompts do: arrays are read faster than JSON."""
    return bool(value) and all(
        isinstance(row, tuple) and all(type(one) is int and -(2**63) <= one < 2**63 for one in row)
        for row in value
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str) -> Any:
    """Finds a dataclass or enumeration of this package by its name; refuses everything else."""
    module, _, qualname = name.partition(":")
    if module.partition(".")[0] != _PACKAGE:
        raise TypeError(f"{name} is not of {_PACKAGE}")
    found = getattr(import_module(module), qualname)
    if not (isinstance(found, type) and (is_dataclass(found) or issubclass(found, Enum))):
        raise TypeError(f"{name} is neither a dataclass nor an enumeration")
    return found
