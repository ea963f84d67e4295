"""The phases that the needs of an audit become, each with its predicted cost."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.planning.needs import KINDS, Need
from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.text import number_of
from pytest_injectivity.results.plan import Phase

if TYPE_CHECKING:
    from pytest_injectivity.plan.costs import Costs

_OF_REFERENCE = " of the reference"


@dataclass(frozen=True)
class Loading:
    """What loading the model took, or is assumed to take.

    Attributes:
        model: the model's name.
        reference: the reference's name; empty where none is named.
        seconds: of the model; a reference is assumed to take as long.
        bytes: of its weights in memory.
        beginnings: the ways in which prompts begin: 2 where the tokenizer puts special tokens first.
    """

    model: str
    reference: str
    seconds: float
    bytes: int
    beginnings: int


def joined(needs: Iterable[Need], config_layers: Sequence[Layer]) -> tuple[Need, ...]:
    """The needs, each once, in the order in which an audit comes to them.

    Args:
        needs: of all checks; those that differ in their layers alone become one, because an audit
            measures each layer once.
        config_layers: the layers of the config, which a capture takes along.
    """
    found: dict[Need, set[Layer]] = {}
    for one in _each_release_once(needs):
        alone = one if one.kind in {"sipit", "cross"} else replace(one, layers=())
        found.setdefault(alone, set()).update(one.layers)
    merged = []
    for one, layers in found.items():
        every = layers | set(config_layers) if one.kind in _OF_ALL else layers
        merged.append(replace(one, layers=tuple(sorted(every, key=depth))))
    return tuple(
        sorted(
            merged, key=lambda one: (KINDS.index(one.kind), one.reference, *map(depth, one.layers))
        )
    )


def _each_release_once(needs: Iterable[Need]) -> Iterator[Need]:
    """The needs, with releases left out that an earlier one of the same size has attacked."""
    attacked: dict[Need, set[str]] = {}
    for one in needs:
        if not one.releases:
            yield one
            continue
        before = attacked.setdefault(replace(one, releases=()), set())
        if left := tuple(text for text in one.releases if text not in before):
            before.update(left)
            yield replace(one, releases=left)


def phases_of(needs: Sequence[Need], costs: "Costs", loading: Loading) -> tuple[Phase, ...]:
    """The phases of needs that can be predicted, in order.

    Args:
        needs: as `joined` gives them.
        costs: predicts.
        loading: of the model.
    """
    return tuple(
        phase
        for need in needs
        if need.kind in _PHASES
        for phase in _PHASES[need.kind](need, costs, loading)
    )


def unforeseen_of(needs: Sequence[Need]) -> tuple[str, ...]:
    """Sentences on the needs that are not predicted."""
    return tuple(
        _UNFORESEEN[one.kind].format(one.words)
        for one in needs
        if one.kind in _UNFORESEEN and not (one.releases or one.others)
    )


# What is measured of all layers in the same passes.
_OF_ALL = {"capture", "resolution", "first", "training"}

_UNFORESEEN = {
    "release": "attacks on what is released, and its utility: {}",
    "outside": "reading the states of --injx-states",
    "training": "the other checkpoints of the training, each as long as this model: {}",
}


def _load(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del costs
    name = loading.reference if need.reference else loading.model
    what = "a second model" if need.reference else "the model"
    return [Phase(f"loading {what}", name, loading.seconds, bytes=loading.bytes)]


def _capture(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    return [costs.capture(need.layers, whose=_whose(need))]


def _resolution(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    return [costs.resolution(need.layers, whose=_whose(need))]


def _first(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    return [costs.first_resolution(need.layers, whose=_whose(need))]


def _geometry(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    whose = _whose(need)
    return [costs.neighbors(need.layers, whose=whose), costs.ratios(need.layers, whose=whose)]


def _tables(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    deeper = [layer for layer in need.layers if layer != 0]
    places = loading.beginnings
    return [costs.tables(deeper, places=places, name="one-step tables")] if deeper else []


def _continuations(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    return [costs.tables(need.layers, places=need.prompts, name="continuations")]


def _contraction(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    return [costs.jacobians(need.layers, places=costs.positions(need.prompts, need.tokens))]


def _sipit(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    (layer,) = need.layers
    return [costs.sipit(layer, prompts=need.prompts, tokens=need.tokens, certify=need.certify)]


def _cross(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    (layer,) = need.layers
    return [costs.cross(layer, prompts=need.prompts, tokens=need.tokens)]


def _next_token(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    return [costs.next_tokens(prompts=need.prompts, tokens=need.tokens)]


def _attacks(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    if not need.releases:  # what only a run gives
        return []
    from pytest_injectivity.plan.attack_work import Walk

    places = [parse(one).place for one in need.releases]
    return [costs.attacks(Walk(places, need.prompts, need.tokens, need.free_running, need.budget))]


def _collisions(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    del loading
    if costs.streamed:  # it has no float64 copy, and the check is INSUFFICIENT
        return []
    from pytest_injectivity.audit.measurements.collision_phase import collision_phase

    pairs = dict.fromkeys(need.layers, need.pairs)
    return [collision_phase(costs, pairs, need.over, roundings=need.roundings)]


def _training(need: Need, costs: "Costs", loading: Loading) -> list[Phase]:
    """Every other checkpoint is loaded, captured and searched as the model is."""
    if not need.others:  # which there are is not known
        return []
    each = [
        *_load(need, costs, loading),
        *_capture(need, costs, loading),
        *_resolution(need, costs, loading),
        *_geometry(need, costs, loading),
    ]
    phase = Phase(
        name="checkpoints of the training",
        what=f"{number_of(need.others, 'other model')}, one after the other, as this one",
        seconds=need.others * sum(one.seconds for one in each),
        token_forwards=need.others * sum(one.token_forwards for one in each),
        bytes=max(one.bytes for one in each),
        shorter_by="checkpoints= of the check, fewer of them",
    )
    return [phase]


def _whose(need: Need) -> str:
    return _OF_REFERENCE if need.reference else ""


_PHASES: dict[str, Callable[[Need, "Costs", Loading], list[Phase]]] = {
    "load": _load,
    "capture": _capture,
    "resolution": _resolution,
    "first": _first,
    "geometry": _geometry,
    "tables": _tables,
    "continuations": _continuations,
    "sipit": _sipit,
    "cross": _cross,
    "next_token": _next_token,
    "release": _attacks,
    "contraction": _contraction,
    "discriminant": _collisions,
    "training": _training,
}
