"""States that were computed, stored or cached in a coarser dtype than is claimed.

What a rounded cache does is told from other noise by its direction: the model is run behind such a
cache, and the displacement that this makes is looked for in the displacement of the states. In as many
coordinates as a prompt has, other noise has hardly a share of it, so that this works below the
tolerance.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.states.faults.base import (
    CLEARLY,
    ROUND_OFF,
    Case,
    Fault,
    Kind,
    named,
)
from pytest_injectivity.states.faults.rounded_cache import states_behind_cache

_CACHES = ("fp8_e4m3", "fp8_e5m2", "bfloat16", "float16")
_STORED = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_ROUNDINGS = {"float16": 4.0, "bfloat16": 8.0}
_MOST_ALONG = 1.5
_GROWN = 3.0


class _Least(NamedTuple):
    """How far along a displacement another one must be, and the share of it that this explains."""

    along: float
    share: float


_LEAST_COARSE = _Least(0.3, 0.1)
_LEAST_FINE = _Least(0.5, 0.5)
_LEAST = 6  # positions among which a growth is seen


def stored_coarser(case: Case) -> Iterator[Fault]:
    """All values are those of a coarser dtype than the engine is said to have computed in."""
    claimed = case.claims.computed
    if claimed is None:
        return
    # Embeddings may be stored in a coarser dtype than the pass computes in.
    deep = [layer for layer in case.states if layer != 0]
    for name, dtype in _STORED.items():
        if ROUND_OFF[name] <= ROUND_OFF[claimed] or not deep:
            continue
        if all(_on_grid(case.states[layer], dtype) for layer in deep) and not all(
            _on_grid(case.own[layer], dtype) for layer in deep
        ):
            words = f"values are {name}, {claimed} is claimed"
            yield Fault(
                Kind.DTYPE,
                None,
                words,
                f"every value is one of {name}'s, though {claimed} is claimed: the states were"
                f' computed or stored in it ({{"dtype": "{name}"}} in states.json says so)',
            )
            return


def rounded_cache(case: Case) -> Iterator[Fault]:
    """The states lie where those behind a rounded cache of keys and values do."""
    if len(case.ids) < 2 or case.claims.kv_cache is not None:  # noqa: PLR2004
        return
    computed = case.claims.computed or case.claims.stored
    for dtype in _CACHES:
        if ROUND_OFF[dtype] <= ROUND_OFF[computed]:
            continue
        deep = [layer for layer in case.states if layer != 0]
        behind = states_behind_cache(case.decoder, case.ids, deep, dtype)
        if behind is None or not deep:
            return
        shares = {layer: _share(case, layer, behind[layer], dtype) for layer in deep}
        layer = max(shares, key=shares.__getitem__)
        if not shares[layer]:
            continue
        off = case.off[layer]
        words = f"KV cache looks like {dtype}"
        yield Fault(
            Kind.KV_CACHE,
            layer,
            words,
            f"{words}: rounding keys and values to it explains {100 * shares[layer]:.0f}% of what"
            f" {named(layer)} is off by ({show(float(off.median()))} of the norm)"
            f' ({{"kv_cache_dtype": "{dtype}"}} in states.json says so)',
        )
        return


def _share(case: Case, layer: Layer, behind: Float64[Tensor, "tokens width"], dtype: str) -> float:
    """The share of a layer's displacement that a rounded cache explains; 0 where that is too little.

    An engine in another dtype rounds keys that differ a little from the model's to other neighbors on a
    grid as coarse as fp8's, so that its displacement is one part of this one. Of a grid as fine as
    bfloat16's a part may be due to the engine's own arithmetic: there most of it must be explained.
    """
    own = case.own[layer]
    norm = torch.linalg.vector_norm(own, dim=1, keepdim=True)
    theirs, made = (case.theirs[layer] - own) / norm, (behind - own) / norm
    loud = float(torch.linalg.vector_norm(made, dim=1).median())
    if loud <= ROUND_OFF[case.claims.computed or case.claims.stored]:
        return 0.0
    along = float((theirs * made).sum() / (made * made).sum())
    share = along**2 * float((made**2).sum() / (theirs**2).sum())
    least = _LEAST_COARSE if ROUND_OFF[dtype] >= ROUND_OFF["fp8"] else _LEAST_FINE
    return share if least.along <= along <= _MOST_ALONG and share >= least.share else 0.0


def computed_coarser(case: Case) -> Iterator[Fault]:
    """The states are off by about what a coarser arithmetic makes, or more with every position."""
    misfits = case.misfits
    if not misfits:
        return
    layer = max(misfits, key=lambda one: float(case.off[one].median()))
    off = case.off[layer]
    usual = float(off.median())
    claimed = case.claims.computed or case.claims.stored
    third = len(off) // 3
    begin, end = (float(part.median()) for part in (off[: max(third, 1)], off[-max(third, 1) :]))
    if len(off) >= _LEAST and end > _GROWN * begin and usual < CLEARLY:
        words = f"noise grows with position: {show(begin, 2)} to {show(end, 2)}"
        yield Fault(
            Kind.KV_CACHE,
            layer,
            words,
            f"{named(layer)} is off by {show(begin)} of the norm at the first positions and"
            f" {show(end)} at the last: as behind a cache of keys and values in lower precision",
        )
        return
    for dtype, most in _ROUNDINGS.items():
        if ROUND_OFF[dtype] > ROUND_OFF[claimed] and usual <= most * ROUND_OFF[dtype]:
            words = f"computed coarser than {claimed}: as in {dtype}"
            yield Fault(
                Kind.DTYPE,
                layer,
                words,
                f"{named(layer)} is off by {show(usual)} of the norm, alike at all positions: as"
                f" {dtype} arithmetic makes it{_or_tf32(dtype)}, and not {claimed}"
                f' ({{"dtype": "{dtype}"}} in states.json says so)',
            )
            return


def _or_tf32(dtype: str) -> str:
    return " (TF32 has the same round-off)" if dtype == "float16" else ""


def _on_grid(values: Float[Tensor, "tokens width"], dtype: torch.dtype) -> bool:
    return bool((values.to(dtype).to(values.dtype) == values).all())
