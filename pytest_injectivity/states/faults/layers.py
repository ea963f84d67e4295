"""States of another layer, of the other side of the final norm, with axes exchanged, or of a module."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.core.text import one_line
from pytest_injectivity.states.faults.base import CLEARLY, Case, Fault, Kind, named, relative

_BATCHED = 3  # dimensions: rows, tokens, width


def another_layer(case: Case) -> Iterator[Fault]:
    """The states of a layer are clearly those of another layer of the model."""
    for layer, theirs in case.theirs.items():
        off = {one: _median(theirs, own) for one, own in case.own.items()}
        nearest = min(off, key=off.__getitem__)
        if nearest == layer or off[nearest] > case.loosest:
            continue
        if not off[nearest] <= CLEARLY * off[layer]:
            continue
        last = case.decoder.n_layers
        if {nearest, layer} == {last, "norm"}:
            side = "after" if nearest == "norm" else "before"
            words = f"{named(layer)} of the file is {side} the final norm"
            kind = Kind.NORM
        else:
            words = f"{named(layer)} of the file is {named(nearest)} of the model"
            kind = Kind.LAYER
        yield Fault(
            kind,
            layer,
            words,
            f"{words}: {show(off[nearest])} of the norm from it, {show(off[layer])} from"
            f" {named(layer)}",
        )


def transposed_axes(case: Case) -> Iterator[Fault]:
    """As many layers as tokens, and the one axis taken for the other."""
    layers, misfits = list(case.theirs), case.misfits
    if len(layers) != len(case.ids) or not misfits:
        return
    whole = torch.stack([case.theirs[layer] for layer in layers])
    for at, layer in enumerate(layers):
        if _median(whole[:, at], case.own[layer]) > case.bounds[layer]:
            return
    words = "transposed axes: it is layers x tokens"
    yield Fault(Kind.AXES, None, words, f"{words} x width: tokens x layers x width is expected")


def missing_residual(case: Case) -> Iterator[Fault]:
    """The states of a layer are what a module of its block writes or reads, or what its block adds."""
    for layer in case.misfits:
        if layer in (0, "norm"):
            continue
        seen = _within_block(case, layer)
        seen["what the block adds"] = case.own[layer] - case.own[int(layer) - 1]
        off = {name: _median(case.theirs[layer], one) for name, one in seen.items()}
        nearest = min(off, key=off.__getitem__)
        if off[nearest] <= case.loosest and off[nearest] <= CLEARLY * float(
            case.off[layer].median()
        ):
            words = f"no residual: {named(layer)} is {nearest}"
            yield Fault(
                Kind.RESIDUAL,
                layer,
                words,
                f"{named(layer)} of the file is {nearest} of block {layer}, {show(off[nearest])} of the"
                " norm from it: the residual stream is that and what came before it, added",
            )


def _within_block(case: Case, layer: Layer) -> dict[str, Float64[Tensor, "tokens width"]]:
    """What the modules of a block write and read of the prompt, where it is as wide as the states."""
    seen: dict[str, Tensor] = {}
    wide = (len(case.ids), case.decoder.hidden_size)

    def look(name: str, _module: object, given: Any, written: Any) -> None:
        for what, values in (("the output of", written), ("the input of", given)):
            first = values[0] if isinstance(values, tuple) and values else values
            # A pass may hold its one row several times.
            if isinstance(first, Tensor) and first.dim() == _BATCHED and first.shape[1:] == wide:
                seen.setdefault(f"{what} {one_line(name, 40)}", first[0].cpu().double())

    block = case.decoder.parts.blocks[int(layer) - 1]
    hooks = [
        module.register_forward_hook(partial(look, name))
        for name, module in block.named_modules()
        if name
    ]
    try:
        case.model_states(case.ids, [layer])
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _median(theirs: Float64[Tensor, "tokens width"], own: Float64[Tensor, "tokens width"]) -> float:
    return float(relative(theirs, own).median())
