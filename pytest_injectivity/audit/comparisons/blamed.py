"""The part of a model that is blamed for what it lost of its parent, kept in the store."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.basis import turn_of
from pytest_injectivity.audit.comparisons.errors import (
    accepted_errors,
    block_errors_of,
    check_parts,
    decoders,
    proved_bits,
    site_layer,
    unlike_part_of,
    weight_errors_of,
)
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.numbers import times_over
from pytest_injectivity.core.progress import UNCOUNTED

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.blame.blame import Blame

PROMPTS = 32
"""The most prompts that parts are exchanged on."""


@dataclass(frozen=True)
class BlameKey(NumberKey):
    """The part of a layer that is blamed.

    Attributes:
        layer: the layer.
        prompts: how many prompts, those of smallest hash.
    """

    layer: Layer
    prompts: int


def blame_of(against: "Against", layer: Layer) -> "Blame":
    """The part of one layer that its error comes from; see `reference.blame`.

    Args:
        against: the model and its parent.
        layer: 0 for the embeddings, 1 to L for a block, ``"norm"`` for the final norm and the head.

    Raises:
        OptionError: the model lacks a part of its parent, or has it in another shape.
    """
    check_parts(against)
    target = against.child.target
    most = min(PROMPTS, len(target.prompts))

    def compute() -> "Blame":
        from pytest_injectivity.reference.blame.blame import blame

        label = f"blaming a part of {layer_id(layer)}"
        child, parent = decoders(against)
        with target.watcher.progress(label, UNCOUNTED) as advance:
            return blame(
                child,
                parent,
                layer,
                target.prompts.subset(most).ids,
                bits=proved_bits(against)[layer_id(layer)],
                progress=advance,
            )

    return against.remember(BlameKey(layer, most), compute)


def blame_line(against: "Against") -> str:
    """Who is to blame, in a line: a part of the layer that errs most by what its bits explain."""
    if unlike := unlike_part_of(against):
        return f"blame: the parts of both models cannot be exchanged: {unlike}"
    layer, times = worst_layer(against)
    if not times:
        return "blame: no block and no tensor errs at all"
    within = "" if times > 1.0 else "no layer errs by more than its bits explain; most does "
    if turn_of(against) is not None:
        said = f"{layer_id(layer)}; its parts are in another basis than the parent's, and not exchanged"
    else:
        said = _blamed(against, layer)
    return f"blame: {within}{said}"


def _blamed(against: "Against", layer: Layer) -> str:
    from pytest_injectivity.reference.blame.exchange import NotExchanged

    try:
        return blame_of(against, layer).words
    except NotExchanged as error:
        return f"{layer_id(layer)}; {error.why}, and are not exchanged"


def worst_layer(against: "Against") -> tuple[Layer, float]:
    """The layer whose block or weights err most, and how many times what its bits explain."""
    from pytest_injectivity.reference.errors.weight_finding import finding

    n_layers = against.child.target.n_layers
    bits = proved_bits(against)
    errors = block_errors_of(against)
    accepted = accepted_errors(against, errors)
    times: dict[Layer, float] = {}
    for site, error in errors.items():
        layer = site_layer(site, n_layers)
        times[layer] = max(times.get(layer, 0.0), times_over(error.value, accepted[site]))
    rotated = turn_of(against) is not None
    for tensor in () if rotated else weight_errors_of(against):
        layer = site_layer(tensor.site, n_layers)
        found = finding(tensor, bits[layer_id(layer)])
        times[layer] = max(times.get(layer, 0.0), found.times)
    worst = max(times, key=lambda layer: times[layer])
    return worst, times[worst]
