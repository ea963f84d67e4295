"""What checks of states captured elsewhere share: claims are checked with the model first."""

import math
from collections.abc import Callable, Container, Iterable, Mapping
from itertools import starmap
from typing import TYPE_CHECKING, TypeVar

from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.common import settled
from pytest_injectivity.audit.judging.quantiles import Quantile, Sample, judge_quantile, named
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id, resolve_layers
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.core.tolerances import PerLayer, by_layer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Reason, Relation, Status

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.audit.measurements.served_sample import ServedLayer
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.states.faults.base import Kind

T = TypeVar("T")

_LISTED = 5
_NAME = 40
_NO_BOUND = "no bound: the states are not what is claimed"


def served_layers(audit: Audited, layer: LayerSpec | None) -> tuple[Layer, ...]:
    """The layers of states captured elsewhere that a check judges.

    Args:
        audit: the audit.
        layer: those asked for; None: all that there are.

    Raises:
        LayerError: the model has no such layer.
        OptionError: there are no states of a layer.
    """
    measured = audit.measurements
    asked = None if layer is None else resolve_layers(layer, measured.target.n_layers)
    found = measured.served.layers
    if asked is None:
        return found
    if missing := [one for one in asked if one not in found]:
        raise OptionError(
            f"{layer_id(missing[0])}: the states captured elsewhere are those of"
            f" {', '.join(map(layer_id, found))}"
        )
    return asked


def not_as_claimed(
    measured: "Measurements",
    layers: Iterable[Layer],
    quantity: str,
    bound: float,
    relation: Relation,
    *,
    kinds: Container["Kind"] | None = None,
) -> list[Reason]:
    """The failing reasons of layers whose states are not what is claimed; none where all are.

    A fault of one layer fails them all: what the files say of the others is no surer.

    Args:
        measured: the measurements.
        layers: those judged.
        quantity: what the check measures.
        bound: what it is held against.
        relation: of the quantity to the bound.
        kinds: of faults that count; None: all.
    """
    findings = [
        one for one in measured.served_sample.findings if kinds is None or one.fault.kind in kinds
    ]
    if not findings:
        return []
    reasons = []
    for layer in layers:
        here = [one for one in findings if one.fault.layer == layer]
        of_all = [one for one in findings if one.fault.layer is None]
        others = [one for one in findings if one not in (*here, *of_all)]
        chosen = [*of_all, *here, *others]
        reasons.append(
            Reason(
                where=layer_id(layer),
                status=Status.FAIL,
                quantity=quantity,
                value=math.nan,
                bound=bound,
                relation=relation,
                headline=chosen[0].fault.words,
                evidence=(
                    *(f"{one.fault.kind}: {one.line}" for one in chosen[:_LISTED]),
                    measured.served.words,
                ),
                would_pass=_NO_BOUND,
            )
        )
    return reasons


def sample_line(measured: "Measurements", layer: Layer) -> str:
    """How far a layer's states lie from the model's, as a line of evidence."""
    sample = measured.served_sample
    one = sample_of(measured, layer)
    return (
        f"of the model's norm: median {show(one.median)}, largest {show(one.largest)}, tolerance"
        f" {show(one.tolerance)}; {number_of(sample.prompts, 'prompt')} looked at"
    )


def sample_of(measured: "Measurements", layer: Layer) -> "ServedLayer":
    """What the sample says of a layer."""
    return next(one for one in measured.served_sample.layers if one.layer == layer)


def served_name(measured: "Measurements", prompt: int) -> str:
    """The name of a prompt of states captured elsewhere: its index, file and length."""
    served = measured.served
    tokens = number_of(len(served.ids[prompt]), "token")
    return f"prompt {prompt} ({one_line(served.names[prompt], _NAME)}, {tokens})"


def served_pair_line(
    measured: "Measurements", geometry: "LayerGeometry", pair: tuple[int, int], what: str
) -> str:
    """A line that names the prompts of two rows of a layer."""
    names = [served_name(measured, int(geometry.prompt_of[row])) for row in pair]
    return f"{what}: {names[0]} and {names[1]}"


def served_lines(measured: "Measurements", geometry: "LayerGeometry") -> list[str]:
    """Lines on how many prompts there are, how long their states are, and where they are from."""
    norms = f"mean norm {show(geometry.mean_norm)}, median norm {show(geometry.median_norm)}"
    return [
        f"N = {len(geometry)}, {norms}",
        sample_line(measured, geometry.layer),
        measured.served.words,
    ]


def served_bounds(
    audit: Audited, name: str, given: PerLayer[T], layer: LayerSpec | None
) -> dict[Layer, T]:
    """The bound of each layer of states captured elsewhere that a check judges, shallow first.

    Raises:
        LayerError: the model has no such layer.
        OptionError: there are no states of a layer, or a layer has no bound.
    """
    measured = audit.measurements
    asked = layer
    if layer is None and not isinstance(given, Mapping):
        asked = list(measured.served.layers)
    found = by_layer(name, given, asked, measured.target.n_layers, "all")
    served_layers(audit, list(found))
    return found


def judge_served(
    audit: Audited,
    bounds: Mapping[Layer, float],
    asked: Quantile,
    sample: Callable[["Measurements", "LayerGeometry", str], Sample],
    quantity: str,
) -> list[Reason]:
    """The reasons of a check of a quantile of rows of states captured elsewhere.

    Args:
        audit: the audit.
        bounds: of each layer judged.
        asked: which quantile.
        sample: makes the values of a layer's rows, by the name of what they are.
        quantity: what they are, whichever quantile of them is judged.
    """
    measured, named_ = audit.measurements, named(quantity, asked)
    if lost := not_as_claimed(measured, bounds, named_, min(bounds.values()), ">="):
        return lost

    def judged(layer: Layer, bound: float) -> tuple[Reason, tuple[float, float]]:
        if reason := not_finite_anywhere(measured, layer, named_, bound, ">="):
            return reason, (1.0, 0.0)
        geometry = measured.served_geometry(layer)
        return judge_quantile(sample(measured, geometry, named_), geometry, bound, asked)

    return settled(list(starmap(judged, bounds.items())), asked.confidence)


def not_finite_anywhere(
    measured: "Measurements", layer: Layer, quantity: str, bound: float, relation: Relation
) -> Reason | None:
    """The failing reason of a layer where a last state, outside of the sample too, is not finite."""
    lost = (~measured.served.last(layer).isfinite().all(dim=1)).nonzero()[:, 0].tolist()
    if not lost:
        return None
    return Reason(
        where=layer_id(layer),
        status=Status.FAIL,
        quantity=quantity,
        value=math.nan,
        bound=bound,
        relation=relation,
        headline=f"{len(lost)} of {number_of(len(measured.served.ids), 'row')} are not finite",
        evidence=tuple(served_name(measured, prompt) for prompt in lost[:_LISTED]),
    )
