"""Repeats the rows of small passes, so that no pass multiplies by the kernels of a few rows.

Libraries multiply a matrix by one row, in float32 by fewer than sixteen, with other kernels than by
more, and these round differently (docs/log.md, 2026-11-29). Where such passes are left out, many
candidates in one pass stand for a candidate alone. Sixteen rows of a large model take as long as one,
because its weights are read once.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

LEAST_TOKENS = 16
"""Tokens that every pass has, where memory allows it."""

MOST_BYTES = 2**28
"""Bytes of keys and values that rows are repeated to."""


def times_repeated(rows: int, width: int, cache: Any, *, most_bytes: int = MOST_BYTES) -> int:
    """How often the rows of a pass are repeated.

    Args:
        rows: of the pass.
        width: tokens of each row.
        cache: the library's cache of the tokens before it; None where there is none.
        most_bytes: of the keys and values of all rows.

    Example:
        >>> times_repeated(1, 1, None), times_repeated(3, 2, None), times_repeated(4, 4, None)
        (16, 3, 1)
    """
    wanted = -(-LEAST_TOKENS // max(rows * width, 1))
    held = sum(side.nbytes for layer in _filled(cache) for side in (layer.keys, layer.values))
    return max(1, min(wanted, most_bytes // held)) if held else wanted


def repeat_cache(cache: Any, times: int) -> None:
    """Repeats the rows of a cache, in place."""
    for layer in _filled(cache):
        layer.keys, layer.values = (repeat_rows(side, times) for side in (layer.keys, layer.values))


def cut_cache(cache: Any, rows: int) -> None:
    """Cuts a cache to its first rows, in place, without a hold on the memory of the others."""
    for layer in _filled(cache):
        layer.keys, layer.values = (side[:rows].clone() for side in (layer.keys, layer.values))


def repeat_inputs(named: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    """The inputs of a pass with their rows repeated."""
    return {name: repeat_rows(one, times) for name, one in named.items()}


def repeat_rows(rows: Tensor, times: int) -> Tensor:
    """A tensor with its rows repeated; a single row takes no more memory."""
    one = len(rows) == 1
    repeated: Tensor = (
        rows.expand(times, *rows.shape[1:]) if one else rows.repeat(times, *[1] * (rows.ndim - 1))
    )
    return repeated


def _filled(cache: Any) -> list[Any]:
    layers: list[Any] = [] if cache is None else cache.layers
    return [layer for layer in layers if layer.is_initialized and layer.keys is not None]
