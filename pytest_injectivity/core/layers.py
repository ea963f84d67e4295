"""Layers and the text that names them (SPEC section 1).

Layer 0 is the embeddings, ``1..L`` the residual stream after a block and before the final norm,
``"norm"`` the state after the final norm. One grammar serves flags, markers and arguments::

    spec  = part {"," part}
    part  = "all" | "norm" | integer | slice
    slice = [integer] ":" [integer] [":" integer]      half-open over 0..L, as in Python

Negative integers count back from ``L``: ``-1`` is ``L``. ``"all"`` is ``1..L`` and ``"norm"``, and a
slice without a start begins at 1: layer 0 sees one token only, so its collisions are structural and
it must be named to be measured, as in ``"0:3"``.
"""

import math
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pytest_injectivity.errors import LayerError

Layer: TypeAlias = int | Literal["norm"]
LayerSpec: TypeAlias = int | str | Sequence[int | str]

HEAD = "head"
"""Names the language-model head, after the final norm, where errors are told apart by their place."""

_GRAMMAR = 'an integer, "all", "norm", a slice such as "4:", or a list of these'
_INTEGER = re.compile(r"[+-]?\d{1,6}")
_SLICE = re.compile(r"([+-]?\d{1,6})?:([+-]?\d{1,6})?(?::([+-]?\d{1,6}))?")


def resolve_layers(spec: LayerSpec, n_layers: int) -> tuple[Layer, ...]:
    """The layers a spec names, without repetition, shallow first.

    Args:
        spec: an int, a text of the grammar above, or a sequence of these.
        n_layers: the model's number of blocks ``L``.

    Raises:
        LayerError: a layer is out of range, or a part is not of the grammar.

    Example:
        >>> resolve_layers("0:2, -1, norm", n_layers=12)
        (0, 1, 12, 'norm')
    """
    named: set[Layer] = set()
    for part in _parts(spec):
        named.update(_resolve_part(part, n_layers, spec))
    if not named:
        raise LayerError(
            f"layers {spec!r} name no layer of a model with {n_layers}: give {_GRAMMAR}"
        )
    return tuple(sorted(named, key=depth))


def resolve_blocks(spec: LayerSpec, n_layers: int) -> tuple[Layer, ...]:
    """The layers a spec names, without the final norm; that alone where it names nothing else.

    Example:
        >>> resolve_blocks("all", n_layers=2), resolve_blocks("norm", n_layers=2)
        ((1, 2), ('norm',))
    """
    named = resolve_layers(spec, n_layers)
    return tuple(one for one in named if one != "norm") or named


def depth(layer: Layer) -> float:
    """Sorts layers shallow first, ``"norm"`` last."""
    return math.inf if layer == "norm" else float(layer)


def spread_over(layers: Sequence[Layer], most: int) -> tuple[Layer, ...]:
    """So many layers at most, the first and the last among them and the others evenly between.

    Args:
        layers: shallow first.
        most: at least 2.

    Example:
        >>> spread_over(range(1, 10), 3), spread_over((1, "norm"), 3)
        ((1, 5, 9), (1, 'norm'))
    """
    if len(layers) <= most:
        return tuple(layers)
    last = len(layers) - 1
    return tuple(layers[round(at * last / (most - 1))] for at in range(most))


def layer_id(layer: Layer) -> str:
    """The name of a layer in test ids, tables and reports: ``layer04``, ``norm``.

    Example:
        >>> layer_id(4), layer_id("norm")
        ('layer04', 'norm')
    """
    return "norm" if layer == "norm" else f"layer{layer:02d}"


def _parts(spec: LayerSpec) -> list[int | str]:
    if isinstance(spec, str):
        return [part.strip() for part in spec.split(",")]
    if isinstance(spec, Sequence):
        return [part for item in spec for part in _parts(item)]
    return [spec]


def _resolve_part(part: object, n_layers: int, spec: LayerSpec) -> list[Layer]:
    if part == "all":
        return [*range(1, n_layers + 1), "norm"]
    if part == "norm":
        return ["norm"]
    if isinstance(part, str) and (found := _SLICE.fullmatch(part)):
        start, stop, step = (int(text) if text else None for text in found.groups())
        if step is not None and step < 1:
            raise LayerError(f"layers {part!r}: the step of a slice is at least 1")
        # A negative bound counts back from L as a single layer does, so "-2:" is L-1 and L.
        first = 1 if start is None else start if start >= 0 else max(1, n_layers + 1 + start)
        return list(range(n_layers + 1)[first:stop:step])
    if isinstance(part, str) and _INTEGER.fullmatch(part):
        return [_in_range(int(part), n_layers)]
    if isinstance(part, int) and not isinstance(part, bool):
        return [_in_range(part, n_layers)]
    raise LayerError(f"layer {part!r} (in {spec!r}) is not of the grammar: give {_GRAMMAR}")


def _in_range(layer: int, n_layers: int) -> int:
    if not -n_layers <= layer <= n_layers:
        raise LayerError(
            f"layer {layer} is out of range: this model has layers 0 to {n_layers}"
            f' (or -{n_layers} to -1 from the end) and "norm"'
        )
    # -1 is L and -L is layer 1: layer 0 is the embeddings and has no negative name.
    return layer if layer >= 0 else layer + n_layers + 1
