"""Faults planted in what engines write, and samples of files of which half have one.

`PLANTS` has one function for each kind of fault: it gives what an engine would have written with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pytest_injectivity import OptionError
from pytest_injectivity.audit.measurements.served_sample import case_of, claims_of, tolerance_of
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.states.faults.base import Kind
from pytest_injectivity.states.faults.diagnosis import diagnose
from pytest_injectivity.states.faults.rounded_cache import states_behind_cache
from pytest_injectivity.states.served import read_served
from pytest_injectivity.testing import tiny_decoder
from tests.served_files import WRITERS, Written, in_dtype, layers_of, served, transposed, write


@dataclass(frozen=True)
class Scene:
    """What a fault is planted in.

    Attributes:
        decoder: the model that is audited.
        ids: the prompt.
        layers: those stated.
        bos: a token that stands for BOS and for padding.
    """

    decoder: Decoder
    ids: tuple[int, ...]
    layers: tuple[Layer, ...]
    bos: int = 0


def _shifted(scene: Scene) -> Written:
    """The engine counts blocks from 0, so that every layer but the last is the next one."""
    last = scene.decoder.n_layers
    asked = {layer: _next(layer, last) for layer in scene.layers}
    states = observe(scene.decoder, scene.ids, sorted({*asked.values()}, key=str))
    return Written(scene.ids, {layer: states[asked[layer]] for layer in scene.layers})


def _next(layer: Layer, last: int) -> Layer:
    if layer == "norm":
        return last - 1
    return int(layer) + 1 if int(layer) < last else last - 1


def _normed(scene: Scene) -> Written:
    """The states are taken on the other side of the final norm."""
    last, written = scene.decoder.n_layers, served(scene.decoder, scene.ids, scene.layers)
    both = observe(scene.decoder, scene.ids, [last, "norm"])
    layer = scene.layers[-1]
    other = both[last] if layer == "norm" else both["norm"]
    stated = layer if layer in (last, "norm") else last
    return replace(written, states={**dict(written.states), stated: other})


def _zeroed(scene: Scene) -> Written:
    """The first rows were cached before and never written."""
    written = served(scene.decoder, scene.ids, scene.layers)
    states = {layer: one.clone() for layer, one in written.states.items()}
    for one in states.values():
        one[: len(one) // 3] = 0
    return replace(written, states=states)


def _without_residual(scene: Scene) -> Written:
    """What the last part of a block wrote, before the residual is added."""
    written = served(scene.decoder, scene.ids, scene.layers)
    layer = next(one for one in reversed(scene.layers) if one != "norm")
    kept: dict[str, Tensor] = {}
    block = scene.decoder.parts.blocks[int(layer) - 1]
    hook = block.mlp.register_forward_hook(lambda _m, _g, out: kept.setdefault("mlp", out[0]))
    observe(scene.decoder, scene.ids, [layer])  # padded
    hook.remove()
    own = kept["mlp"][: len(scene.ids)].clone()
    return replace(written, states={**dict(written.states), layer: own})


def _padded(scene: Scene) -> Written:
    """Padding on the left that is masked: ids and rows begin with it."""
    pad, written = 3, served(scene.decoder, scene.ids, scene.layers)
    rows = served(scene.decoder, [scene.bos] * pad, scene.layers).states
    states = {layer: torch.cat([rows[layer], one]) for layer, one in written.states.items()}
    return Written((*[scene.bos] * pad, *scene.ids), states)


def _moved(scene: Scene) -> Written:
    """Padding on the left that moved the positions of the tokens; models with absolute ones alone."""
    ids = torch.tensor([scene.ids])
    at = torch.arange(len(scene.ids))[None] + 3
    found = scene.decoder.states_at(ids, at, list(scene.layers))
    return Written(scene.ids, {layer: one[0] for layer, one in found.items()})


def _other_model(scene: Scene) -> Written:
    """Another model of the same shape."""
    config = scene.decoder.model.config
    other = type(scene.decoder.model)(config).to(scene.decoder.dtype)
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for one, own in zip(other.parameters(), scene.decoder.model.parameters(), strict=True):
            one.copy_(torch.randn(one.shape, generator=generator) * own.float().std().nan_to_num(1))
    return served(Decoder("other", other), scene.ids, scene.layers)


def _rounded(scene: Scene) -> Written:
    """An engine in bfloat16, whose values are written as float32 and claimed to be."""
    written = in_dtype(scene.decoder, scene.ids, scene.layers, torch.bfloat16)
    return replace(written, dtype=torch.float32, said={"dtype": "float32"})


def _halved(scene: Scene) -> Written:
    """As `_rounded`, in float16."""
    written = in_dtype(scene.decoder, scene.ids, scene.layers, torch.float16)
    return replace(written, dtype=torch.float32, said={"dtype": "float32"})


def _shuffled_tokens(scene: Scene) -> Written:
    """The ids beside the states are in another order."""
    written = served(scene.decoder, scene.ids, scene.layers)
    return replace(written, ids=tuple(reversed(written.ids)))


def _shuffled_rows(scene: Scene) -> Written:
    """Two parts of a prompt were written one in the other's place."""
    written, middle = served(scene.decoder, scene.ids, scene.layers), len(scene.ids) // 2
    states = {layer: one.roll(middle, 0) for layer, one in written.states.items()}
    return replace(written, states=states)


def _without_bos(scene: Scene) -> Written:
    """The engine put a BOS first that the ids leave out."""
    written = served(scene.decoder, (scene.bos, *scene.ids), scene.layers)
    return Written(scene.ids, {layer: one[1:] for layer, one in written.states.items()})


def _cached_fp8(scene: Scene) -> Written:
    """Keys and values were rounded to fp8 as they were cached."""
    found = states_behind_cache(scene.decoder, scene.ids, scene.layers, "fp8_e4m3")
    assert found is not None
    return Written(scene.ids, {layer: one.float() for layer, one in found.items()})


def _nan(scene: Scene) -> Written:
    """A row that is not finite."""
    written = served(scene.decoder, scene.ids, scene.layers)
    states = {layer: one.clone() for layer, one in written.states.items()}
    states[scene.layers[-1]][-1, 0] = torch.nan
    return replace(written, states=states)


PLANTS: dict[str, tuple[Callable[[Scene], Written], frozenset[Kind]]] = {
    "layer off by one": (_shifted, frozenset({Kind.LAYER})),
    "other side of the norm": (_normed, frozenset({Kind.NORM})),
    "zero rows": (_zeroed, frozenset({Kind.ZERO_ROWS})),
    "missing residual": (_without_residual, frozenset({Kind.RESIDUAL})),
    "left padding": (_padded, frozenset({Kind.PADDING})),
    "moved positions": (_moved, frozenset({Kind.PADDING})),
    "another model": (_other_model, frozenset({Kind.MODEL})),
    "bfloat16 as float32": (_rounded, frozenset({Kind.DTYPE})),
    "float16 as float32": (_halved, frozenset({Kind.DTYPE})),
    "shuffled tokens": (_shuffled_tokens, frozenset({Kind.TOKENS})),
    "shuffled rows": (_shuffled_rows, frozenset({Kind.POSITIONS})),
    "missing BOS": (_without_bos, frozenset({Kind.BOS})),
    "fp8 KV cache": (_cached_fp8, frozenset({Kind.KV_CACHE})),
    "not finite": (_nan, frozenset({Kind.NOT_FINITE})),
}
"""The faults that values show, each with the kinds that name it; other axes are refused by shape."""


@dataclass(frozen=True)
class Sampled:
    """One synthesised file.

    Attributes:
        model: the name of the model that is audited.
        layout: of the file.
        plant: the fault planted; empty: none.
        path: of the file.
        kinds: how the fault may be named; none of a sound file.
    """

    model: str
    layout: str
    plant: str
    path: Path
    kinds: frozenset[Kind]


AXES = "transposed axes"


def plants_for(layout: str, decoder: Decoder) -> list[str]:
    """The faults that files of a layout and a model can have."""
    left_out = {"moved positions"} if decoder.family.name != "gpt2" else set()
    left_out |= {"sglang": {"missing residual"}, "own": {"other side of the norm"}}.get(
        layout, set()
    )
    axes = [AXES] if layout in ("vllm", "npz") else []
    return [name for name in PLANTS if name not in left_out] + axes


def sample(folder: Path, models: Mapping[str, Decoder], count: int) -> list[Sampled]:
    """Write files of all layouts in turn, every second one with a fault planted, each in its turn.

    Sound files are of engines in float32, bfloat16 and float16.

    Args:
        folder: where they are written, each in a folder of its own.
        models: by name; their BOS, or token 0, stands for padding too.
        count: how many files.
    """
    generator, found = torch.Generator().manual_seed(0), []
    names, layouts = list(models), list(WRITERS)
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    for at in range(count):
        model, layout = names[at // 2 % len(names)], layouts[at // 2 // len(names) % len(layouts)]
        decoder, turn = models[model], at // 2 // len(names) // len(layouts)
        length = int(torch.randint(12, 24, (), generator=generator))
        ids = torch.randint(1, decoder.vocab_size, (length,), generator=generator).tolist()
        bos = decoder.model.config.bos_token_id or 0
        scene = Scene(decoder, tuple(ids), layers_of(layout, decoder), bos)
        place = folder / f"{at:03d}"
        if not at % 2:
            written = in_dtype(decoder, ids, scene.layers, dtypes[turn % len(dtypes)])
            path = write(layout, place, written)
            found.append(Sampled(model, layout, "", path, frozenset()))
            continue
        plants = plants_for(layout, decoder)
        # Layouts and models begin at different faults, so that a small sample has all of them.
        start = 5 * layouts.index(layout) + 7 * names.index(model)
        plant = plants[(turn + start) % len(plants)]
        if plant == AXES:
            path = transposed(layout, place, served(decoder, ids, scene.layers))
            found.append(Sampled(model, layout, plant, path, frozenset({Kind.AXES})))
            continue
        make, kinds = PLANTS[plant]
        written = make(scene)
        said = {"dtype": "float32", **written.said}
        path = write(layout, place, replace(written, said=said))
        found.append(Sampled(model, layout, plant, path, kinds))
    return found


def named_kinds(decoder: Decoder, path: Path, *, usual: float = 1e-6) -> frozenset[Kind]:
    """The kinds of faults that a file is found to have.

    Args:
        decoder: the model that is audited.
        path: of the file.
        usual: how far two evaluations of the model lie apart, relative to a state's norm.
    """
    try:
        found = read_served(path, ModelFacts.of(decoder))
    except OptionError as error:
        return frozenset({Kind.AXES} if f": {AXES}: " in str(error) else {Kind.MODEL})
    bound = tolerance_of(usual, computed=found.computed, own=str(decoder.dtype)[6:])
    claims = claims_of(found, (), decoder)
    case = case_of(decoder, found, 0, claims, (bound,) * len(found.layers))
    return frozenset(one.kind for one in diagnose(case))


def small_models() -> dict[str, Decoder]:
    """Models that take milliseconds, of two families."""
    return {
        family: tiny_decoder(family, layers=4, hidden=32, vocab=96, context=64, bos_token_id=0)
        for family in ("gpt2", "llama")
    }
