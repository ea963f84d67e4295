"""Parquet tables: a row a prompt, with ``token_ids`` and ``hidden_states`` as nested lists.

``hidden_states`` is ``list<list<list<float>>>``: tokens, layers, width. Needs the extra ``parquet``.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import MissingExtra
from pytest_injectivity.states.layouts.base import (
    FilePrompt,
    Layout,
    Reading,
    by_layer,
    refusal,
)

_COLUMNS = ("hidden_states", "token_ids")
_WIDEST = 8  # bytes of a number


def read_parquet(path: Path, reading: Reading) -> Iterator[FilePrompt]:
    """The prompts of one table.

    Raises:
        MissingExtra: pyarrow is not installed.
        OptionError: the file is not accepted.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra(
            f"{one_line(str(path))}: reading .parquet needs pyarrow:"
            ' pip install "pytest-injectivity[parquet]"'
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
            numbers = sum(
                group.column(at).num_values for group in groups for at in range(group.num_columns)
            )
            reading.take(path, _WIDEST * numbers)
            layers = reading.layers(path)
            for batch in file.iter_batches(1, columns=list(_COLUMNS)):
                ids = batch.column("token_ids")[0].as_py()
                if not ids or not all(type(one) is int for one in ids):
                    raise refusal(path, "token_ids of a row are no list of integers")
                states, shape = _numbers(path, batch.column("hidden_states")[0].values)
                reading.check_axes(
                    path, "hidden_states", shape, tokens=len(ids), layers=len(layers)
                )
                tensor = torch.from_numpy(states.reshape(shape).copy())
                yield reading.prompt(path, ids, by_layer(layers, tensor))
    except (pa.ArrowException, OSError) as error:
        raise refusal(path, f"it is no readable parquet file: {one_line(str(error))}") from None


def _check_columns(path: Path, names: list[str]) -> None:
    if missing := [name for name in _COLUMNS if name not in names]:
        raise refusal(
            path,
            f"there is no column {missing[0]!r}: token_ids, a list of integers, and hidden_states, a"
            " list of lists of lists of numbers (tokens, layers, width), are needed",
        )
    if unknown := [name for name in names if name not in _COLUMNS]:
        raise refusal(
            path,
            f"column {one_line(unknown[0])!r} is not known: {', '.join(_COLUMNS)} are accepted",
        )


def _numbers(path: Path, rows: Any) -> tuple["np.ndarray[Any, Any]", tuple[int, ...]]:
    """The numbers of nested lists, and how long the lists of each depth are."""
    shape: list[int] = []
    while hasattr(rows, "value_lengths"):
        inner = set(rows.value_lengths().to_pylist())
        if len(inner) != 1 or None in inner:
            raise refusal(path, "hidden_states of a row hold lists of several lengths")
        shape.append(len(rows))
        (last,) = inner
        rows = rows.flatten()
        if not hasattr(rows, "value_lengths"):
            shape.append(last)
    found = rows.to_numpy(zero_copy_only=False) if rows is not None else np.zeros(0)
    if found.dtype.kind != "f":
        raise refusal(
            path, f"hidden_states hold {found.dtype}: floating-point numbers are accepted"
        )
    # The lengths counted are those of all lists of a depth together.
    sizes = [
        shape[0],
        *(after // before for before, after in pairwise(shape[:-1])),
    ]
    return found, (*sizes, shape[-1])


PARQUET = Layout(
    name="parquet",
    suffixes=(".parquet",),
    tensors=frozenset(),
    read=read_parquet,
    words=".parquet",
    claims_dtype=False,
)
