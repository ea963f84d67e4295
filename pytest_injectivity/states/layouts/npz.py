"""Plain ``.npz`` files of numpy: ``token_ids`` and ``hidden_states``, of one prompt or of several.

``hidden_states`` is ``[tokens, layers, width]``. Of several prompts the tokens of all stand one after
the other, and ``lengths [prompts]`` says how many each has. Sizes are checked in the headers of the
arrays before any is read, so that a small file that unpacks to a huge one is refused.
"""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy

from pytest_injectivity.core.text import one_line
from pytest_injectivity.states.layouts.base import (
    FilePrompt,
    Layout,
    Reading,
    by_layer,
    nbytes,
    refusal,
)

_STATES, _IDS, _LENGTHS = "hidden_states", "token_ids", "lengths"
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError)


def read_npz(path: Path, reading: Reading) -> Iterator[FilePrompt]:
    """The prompts of one file.

    Raises:
        OptionError: the file is not accepted.
    """
    try:
        shapes = _headers(path, reading)
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    layers = reading.layers(path)
    tokens = shapes[_IDS][0]
    reading.check_axes(path, _STATES, shapes[_STATES], tokens=tokens, layers=len(layers))
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.array(file[name]) for name in shapes}
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    native = found[_STATES].astype(found[_STATES].dtype.newbyteorder("="), copy=False)
    states, ids = torch.from_numpy(native), found[_IDS].astype(np.int64)
    start = 0
    for length in _lengths(path, found.get(_LENGTHS), tokens):
        rows = slice(start, start + length)
        yield reading.prompt(path, ids[rows].tolist(), by_layer(layers, states[rows].clone()))
        start += length


def _headers(path: Path, reading: Reading) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays, which are of accepted types and sizes."""
    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name not in (_STATES, _IDS, _LENGTHS):
                raise refusal(
                    path,
                    f"array {one_line(name)!r} is not known: {_IDS}, {_STATES} and, of several prompts,"
                    f" {_LENGTHS} are accepted",
                )
            with archive.open(entry) as file:
                shape, dtype = _header(file)
            if dtype.hasobject:
                raise refusal(
                    path,
                    f"array {name!r} would be unpickled, which runs code: numbers are accepted",
                )
            kinds = "f" if name == _STATES else "iu"
            if dtype.kind not in kinds or (name == _STATES and dtype.itemsize > 8):  # noqa: PLR2004
                wanted = "float16, float32 or float64" if name == _STATES else "integers"
                raise refusal(path, f"array {name!r} is {dtype}: {wanted} are accepted")
            rank = 3 if name == _STATES else 1
            if len(shape) != rank or not all(shape):
                raise refusal(
                    path,
                    f"array {name!r} has shape {one_line(str(list(shape)))}: {rank} dimensions are"
                    " accepted, each at least 1",
                )
            reading.take(path, max(entry.file_size, nbytes(shape, dtype.itemsize)))
            shapes[name] = shape
    if missing := [name for name in (_STATES, _IDS) if name not in shapes]:
        raise refusal(path, f"there is no array {missing[0]!r}: {_IDS} and {_STATES} are needed")
    return shapes


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return tuple(shape), dtype


def _lengths(path: Path, given: "np.ndarray[Any, Any] | None", tokens: int) -> list[int]:
    if given is None:
        return [tokens]
    lengths: list[int] = given.astype(np.int64).tolist()
    if min(lengths) < 1 or sum(lengths) != tokens:
        raise refusal(
            path,
            f"{_LENGTHS} from {min(lengths)}, {sum(lengths)} in all: each at least 1 and"
            f" {tokens} in all are accepted",
        )
    return lengths


def _damaged(path: Path, error: Exception) -> Exception:
    return refusal(path, f"it is no complete .npz file: {one_line(str(error))}")


NPZ = Layout(
    name="npz",
    suffixes=(".npz",),
    tensors=frozenset(),
    read=read_npz,
    words=".npz",
    claims_dtype=False,
)
