"""What the checks of an audit need measured, each need once, whatever number of checks asks for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any, cast

from pytest_injectivity.audit.bound_checks import values_by_layer
from pytest_injectivity.audit.judging.arguments import count
from pytest_injectivity.audit.measurements.discriminants import roundings_with
from pytest_injectivity.audit.releases.cuts import WIRES, cut_releases
from pytest_injectivity.audit.releases.release_size import Size, SizeOptions
from pytest_injectivity.config.release_spec import ReleaseSpec, parse
from pytest_injectivity.core.layers import Layer, LayerSpec, resolve_blocks, resolve_layers
from pytest_injectivity.results.changes import named_by_metric


@dataclass(frozen=True)
class Asked:
    """A call of a check, as far as it is known.

    Attributes:
        check: its name, such as ``no_collisions``.
        arguments: by the names of its parameters; those that are not known are left out.
    """

    check: str
    arguments: Mapping[str, Any]

    def number(self, name: str, default: int) -> int:
        """A number among the arguments, or what the check takes without one.

        Raises:
            OptionError: it is below 1, which the check refuses too.
        """
        found = self.arguments.get(name, default)
        return count(name, found) if isinstance(found, int) else default


@dataclass(frozen=True)
class Need:
    """Something that has to be measured.

    Attributes:
        kind: which of `KINDS`.
        layers: at which layers; those of equal needs are joined.
        reference: of the reference, not of the model.
        prompts, tokens: how many prompts, of which length, or at how many positions of each; 0 where
            that is the prompt set's.
        certify: positions that get a pass over the vocabulary; None: as many as cost what the
            recovery does.
        releases: texts of releases that are attacked in one walk, their layers counted from the first.
        free_running: prompts that are also read free-running.
        budget: candidates that attacks may run; None: the whole vocabulary behind each prefix.
        over: which weights may change in a search for a collision.
        pairs: how many pairs of prompts are brought to collide at each layer.
        roundings: how many roundings the changes are compared with.
        others: checkpoints that are measured beside the audited model.
        words: names what is not predicted.
    """

    kind: str
    layers: tuple[Layer, ...] = ()
    reference: bool = False
    prompts: int = 0
    tokens: int = 0
    certify: int | None = 0
    releases: tuple[str, ...] = ()
    free_running: int = 0
    budget: int | None = None
    over: str | int = ""
    pairs: int = 0
    roundings: int = 0
    others: int = 0
    words: str = ""


KINDS = (
    "load",
    "capture",
    "resolution",
    "first",
    "geometry",
    "tables",
    "continuations",
    "sipit",
    "cross",
    "next_token",
    "release",
    "outside",
    "discriminant",
    "contraction",
    "training",
)
"""The kinds of needs, in the order in which an audit comes to them."""


def needs_of(
    asked: Asked, n_layers: int, default: str, releases: Sequence[str] = ()
) -> tuple[Need, ...]:
    """What a call of a check needs.

    Args:
        asked: the call.
        n_layers: the model's number of blocks.
        default: the layers of the config.
        releases: the releases of the config, which are attacked in one walk.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a release is not accepted.
    """
    if asked.check == "cut_not_read":
        return _cuts(asked, n_layers)
    if asked.check in {"not_recoverable", "utility_kept"}:
        return _releases(asked, n_layers, releases)
    layers = _layers(asked, n_layers, default)
    return _NEEDS[asked.check](asked, layers)


def _layers(asked: Asked, n_layers: int, default: str) -> tuple[Layer, ...]:
    """The layers a check is asked for: its argument, else those its values name, else the config's."""
    spec: LayerSpec | None = asked.arguments.get("layer")
    if spec is None:
        # Other arguments with names, such as checkpoints, name no layers; nor do names of metrics.
        by_layer = [
            tuple(given)
            for name in values_by_layer(asked.check)
            if isinstance(given := asked.arguments.get(name), Mapping)
            and not (asked.check == "matches_baseline" and named_by_metric(given))
        ]
        spec = by_layer[0] if by_layer else default
        if asked.check in {"one_step_distinct", "no_new_collisions", *_FROM_EMBEDDINGS}:
            spec = spec if by_layer else f"0,{default}"
        if asked.check == "local_colipschitz_above" and not by_layer:
            return resolve_blocks(spec, n_layers)
    return resolve_layers(spec, n_layers)


_FROM_EMBEDDINGS = ("state_drift_below", "block_error_below", "weight_error_below")
"""The checks that judge layer 0 as well where no layer is given."""

_States = tuple[Need, ...]


def _states(layers: tuple[Layer, ...], *, reference: bool = False) -> _States:
    return (
        Need("load", reference=reference),
        Need("capture", layers, reference),
        Need("resolution", layers, reference),
    )


def _geometry(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    del asked
    return (*_states(layers), Need("geometry", layers))


def _retained(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    other = (*_states(layers, reference=True), Need("geometry", layers, reference=True))
    return (*_geometry(asked, layers), *other)


def _sipit(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    certify = asked.arguments.get("certify")
    needs = [
        Need(
            "sipit",
            (one,),
            prompts=asked.number("prompts", 20),
            tokens=asked.number("tokens", 20),
            certify=certify if isinstance(certify, int) else None,
        )
        for one in layers
    ]
    return (*_states(layers), Need("first", layers), *needs)


def _cross(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    size = (asked.number("prompts", 20), asked.number("tokens", 20))
    needs = [Need("cross", (one,), True, *size) for one in layers]  # noqa: FBT003 - the reference reads
    return (*_retained(asked, layers), Need("first", layers, reference=True), *needs)


def _errors(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    del asked
    both = (Need("load"), Need("load", reference=True))
    return (*both, Need("capture", layers), Need("capture", layers, reference=True))


def _weights(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    del asked, layers
    return (Need("load"), Need("load", reference=True))


def _next_token(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    del layers
    size = (asked.number("prompts", 300), asked.number("tokens", 128))
    compared = Need("next_token", reference=True, prompts=size[0], tokens=size[1])
    return (Need("load"), Need("load", reference=True), compared)


def _tables(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    del asked
    resolutions = (Need("resolution", layers), Need("first", layers))
    return (Need("load"), *resolutions, Need("tables", layers))


def _repetitions(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    """How many steps are evaluated depends on what is found: the resolutions are predicted alone."""
    del asked
    return (Need("load"), Need("resolution", layers), Need("first", layers))


def _continuations(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    size = asked.number("prompts", 10)
    return (*_geometry(asked, layers), Need("continuations", layers, prompts=size))


def _training(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    given = asked.arguments.get("checkpoints")
    others = len(given) if isinstance(given, Mapping) else 0
    words = "" if others else str(given or "which there are is not known")
    return (*_geometry(asked, layers), Need("training", layers, others=others, words=words))


def _releases(asked: Asked, n_layers: int, configs: Sequence[str]) -> _States:
    given = asked.arguments.get("release")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(one, str) for one in texts):
        return (Need("load"), Need("release", words="what only a run gives"))
    wanted = [_resolved(one, n_layers) for one in texts]
    every = [_resolved(one, n_layers) for one in configs]
    if set(wanted) <= set(every):
        wanted = every
    accepted = {name: asked.arguments[name] for name in _SIZE if name in asked.arguments}
    walks: dict[Size, list[ReleaseSpec]] = {}
    for one in dict.fromkeys(wanted):
        walks.setdefault(Size.of(one.place, cast("SizeOptions", accepted)), []).append(one)
    return (Need("load"), *starmap(_walk, walks.items()))


def _cuts(asked: Asked, n_layers: int) -> _States:
    """The releases of the cuts that a check is asked for."""
    layers, wires = asked.arguments.get("layers"), asked.arguments.get("wires", WIRES)
    if layers is None:
        return _releases(asked, n_layers, ())
    texts = cut_releases(layers, wires, n_layers)
    return _releases(replace(asked, arguments={**asked.arguments, "release": texts}), n_layers, ())


def _resolved(text: str, n_layers: int) -> ReleaseSpec:
    release = parse(text)
    return replace(release, place=release.place.resolved(n_layers))


def _walk(size: Size, releases: Sequence[ReleaseSpec]) -> Need:
    """One walk over the prompts, with the attacker's model loaded for it."""
    return Need(
        "release",
        prompts=size.prompts,
        tokens=size.tokens,
        releases=tuple(map(str, releases)),
        free_running=size.free_running,
        budget=size.budget,
    )


_SIZE = tuple(SizeOptions.__annotations__)


def _discriminant(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    over, bits = asked.arguments.get("over", "all"), asked.arguments.get("bits")
    search = Need(
        "discriminant",
        layers,
        over=over if isinstance(over, (str, int)) else "all",
        pairs=asked.number("pairs", 1),
        roundings=len(roundings_with(bits if isinstance(bits, int) else None)),
    )
    return (*_geometry(asked, layers), search)


def _contraction(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    size = (asked.number("prompts", 5), asked.number("positions", 2))
    return (*_states(layers), Need("contraction", layers, prompts=size[0], tokens=size[1]))


def _outside(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    del asked, layers
    return (Need("load"), Need("outside"))


def _facts(asked: Asked, layers: tuple[Layer, ...]) -> _States:
    """The facts on a model that is new to the store; configurations take no time."""
    del asked, layers
    return (Need("load"),)


_NEEDS: dict[str, Callable[[Asked, tuple[Layer, ...]], _States]] = {
    "bilipschitz_within": _geometry,
    "colipschitz_above": _geometry,
    "margin_above": _geometry,
    "matches_baseline": _geometry,
    "metric_bounded": _geometry,
    "no_collisions": _geometry,
    "discriminant_distance_above": _discriminant,
    "local_colipschitz_above": _contraction,
    "sipit_recovers": _sipit,
    "not_read_by_reference": _cross,
    "next_token_kept": _next_token,
    "one_step_distinct": _tables,
    "no_continuation_collisions": _continuations,
    "no_repetition_collapse": _repetitions,
    "states_recoverable": _outside,
    "stable_along_training": _training,
    "served_as_audited": _facts,
    "served_colipschitz_above": _facts,
    "served_margin_above": _facts,
    "served_no_collisions": _facts,
    "margin_retained": _retained,
    "colipschitz_retained": _retained,
    "no_new_collisions": _retained,
    "quantized": _facts,
    "same_function": _facts,
    "state_drift_below": _retained,
    "block_error_below": _errors,
    "weight_error_below": _weights,
}
"""What each check needs; those whose arguments say which releases are attacked have no row."""
