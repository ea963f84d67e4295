"""Two prompts planted at a distance of choice, in units of the resolution: what the gate says of them.

The prompts differ in their last token alone, and the embedding row of one token is that of the other and
a difference, whose size is bisected until the states of a layer are as far apart as asked. A pair is
unresolved only where it is near in both distances, the Euclidean and the scaled one (SPEC section 2): so
how far apart it is, in units of the resolution, is the larger of both ratios.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from real_tables import alone, markdown, told
from torch import Tensor

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.states.resolution import Resolution

NATURAL = 60
CLOSER = (1 / 32, 1 / 8, 1 / 4, 1 / 2)
"""Distances of planted pairs in units of the resolution that are below it."""
FARTHER = 3.0
_STEPS = 40
_SPAN = (1e-9, 1e2)


@dataclass(frozen=True)
class Twin:
    """Two prompts that differ in their last token, whose embedding rows are nearly equal.

    Attributes:
        left, right: token ids.
        times: the distance asked for, over the resolution.
        reached: that of the two states, evaluated alone.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    times: float
    reached: float


@dataclass(frozen=True)
class Judged:
    """What the audit says of a planted pair.

    Attributes:
        dtype, layer: where.
        times: the distance asked for, over the resolution.
        reached: the distance as captured, over the resolution.
        kind: ``collision``, ``unresolved`` or ``resolved``; ``apart`` where it is not near.
        own: ``S``, what either prompt is from itself, over the resolution; NaN where not evaluated.
    """

    dtype: str
    layer: Layer
    times: float
    reached: float
    kind: str
    own: float


def over(resolution: Resolution, off: Float64[Tensor, " hidden"]) -> float:
    """How far apart two states are in units of the resolution: the larger of the two ratios."""
    euclidean = float(off.norm()) / resolution.distance
    return max(euclidean, float(resolution.scale.norms(off)) / resolution.radius)


def plant(
    decoder: Decoder,
    layer: Layer,
    prompt: Sequence[int],
    token: int,
    times: float,
    *,
    measure: Callable[[Float64[Tensor, " hidden"]], float],
) -> Twin:
    """Gives a token nearly the row of a prompt's last one, so that two states are so far apart.

    Args:
        decoder: changed in place: the row of ``token``.
        layer: where the states are that far apart, at least as nearly as the dtype's steps allow.
        prompt: token ids.
        token: takes the last one's place.
        times: how far apart.
        measure: says how far apart two states are from their difference.
    """
    rows: Any = decoder.parts.embeddings.weight
    row = rows[prompt[-1]].double()
    draw = torch.Generator().manual_seed(token)
    away = (
        torch.randn(row.shape, generator=draw, dtype=torch.float64) * row.norm() / len(row) ** 0.5
    )
    pair = (tuple(prompt), (*prompt[:-1], token))

    def apart(size: float) -> float:
        with torch.no_grad():
            rows[token] = (row + size * away).to(rows.dtype)
        left, right = (decoder.states(torch.tensor([one]), [layer])[layer][0, -1] for one in pair)
        return measure(left.double() - right.double())

    low, high = _SPAN
    found: list[tuple[float, float]] = []
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        found.append((apart(middle), middle))
        low, high = (low, middle) if found[-1][0] > times else (middle, high)
    # A distance of 0 would be a collision, which is another thing.
    _, best = min(found, key=lambda one: abs(one[0] - times) if one[0] else torch.inf)
    return Twin(*pair, times, apart(best))


def of_layer(model: Path, source: str, dtype: str, layer: Layer) -> tuple[list[Judged], str, str]:
    """Plants pairs at one layer and audits them, in this process.

    Returns:
        What is said of each pair; the verdict on those that are closer than the resolution, and on
        the one that is farther.
    """
    audit = _audit(model, source, dtype, layer)
    decoder, prompts = audit.decoder, audit.prompts.ids
    resolution = audit.resolution(layer).later
    used = {token for ids in prompts for token in ids}
    unused = [token for token in range(decoder.vocab_size) if token not in used]
    twins = []
    for at, times in enumerate((*CLOSER, FARTHER)):
        token = unused[-1 - 97 * at]
        measure = partial(over, resolution)
        twins.append(plant(decoder, layer, prompts[at], token, times, measure=measure))
        told(f"{dtype} layer {layer}: asked {times:g}, reached {twins[-1].reached:.4g}")
    closer = _audit(model, source, dtype, layer, decoder, twins[:-1])
    farther = _audit(model, source, dtype, layer, decoder, twins[-1:])
    red, green = (one.check_no_collisions(layer) for one in (closer, farther))
    told(f"{dtype} layer {layer}: {red.text}")
    told(f"{dtype} layer {layer}: {green.text}")
    judged = [
        *(_judged(closer, dtype, layer, twin) for twin in twins[:-1]),
        _judged(farther, dtype, layer, twins[-1]),
    ]
    return judged, red.first_line, green.first_line


def _audit(  # noqa: PLR0917 - one audit of several
    model: Path,
    source: str,
    dtype: str,
    layer: Layer,
    decoder: Decoder | None = None,
    twins: Sequence[Twin] = (),
) -> Audit:
    """An audit of natural prompts, and of planted ones with the model they are planted in."""
    config = AuditConfig(
        model=str(model),
        prompts=source,
        max_prompts=NATURAL,
        overlong="drop",
        dtype=dtype,
        device="cpu",
        layers=str(layer),
        no_cache=True,
    )
    audit = Audit(config)
    if decoder is not None:
        audit.target.adopt(decoder)
        natural = audit.prompts
        ids = dict.fromkeys(
            (*natural.ids, *(side for one in twins for side in (one.left, one.right)))
        )
        audit.target.use_prompts(
            PromptSet("planted", tuple(ids), None, special_tokens=natural.special_tokens)
        )
    return audit


def _judged(audit: Audit, dtype: str, layer: Layer, twin: Twin) -> Judged:
    pair = tuple(sorted(audit.prompts.ids.index(side) for side in (twin.left, twin.right)))
    resolution = audit.resolution(layer).later
    states = audit.states(layer)[list(pair)].double()
    reached = over(resolution, states[0] - states[1])
    doubts = audit.measurements.doubtful([layer])[layer]
    decided = dict(zip(doubts.pairs, doubts.decisions, strict=True))
    one = decided.get(pair)
    kind = "apart" if reached else "collision"
    if one is not None:
        kind = str(one.kind) + (f" ({one.by})" if one.by else "")
    own = float("nan") if one is None else one.itself / resolution.distance
    return Judged(dtype, layer, twin.times, reached, kind, own)


COLUMNS = (
    "dtype, layer",
    *(f"asked {times:.3g}" for times in CLOSER),
    "verdict on these",
    f"asked {FARTHER:g}",
    "verdict on it",
)


def plantings(model: Path, source: str, dtypes: Sequence[str], layers: Sequence[Layer]) -> str:
    """Pairs planted at each layer in each dtype, and what is said of them, as a table."""
    rows = []
    for dtype in dtypes:
        for layer in layers:
            judged, red, green = alone(of_layer, model, source, dtype, layer)
            said = [f"{one.reached:.3g}: {one.kind}, S {one.own:.2g}" for one in judged]
            rows.append((f"{dtype}, {layer}", *said[:-1], red, said[-1], green))
    title = (
        f"{model.name}: pairs planted at a multiple of the resolution (the distance reached, what"
        " evaluation says, and S, both over the resolution)"
    )
    return markdown(title, COLUMNS, rows)
