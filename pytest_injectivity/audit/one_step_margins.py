"""The one-step margin by layer: how far apart continuations of one prompt are ([N], SPEC section 6).

For a prompt ``s`` and tokens ``v`` the margin at a layer is the smallest ``||F(v; s) - F(v'; s)||``:
what SipIt has to tell tokens apart. A sample of tokens stands for the vocabulary, as in [N]; the exact
minimum over all of it is what `check_no_continuation_collisions` looks for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.core.layers import Layer, depth, layer_id
from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.models.decoder import Decoder

_FEWEST = 2


@dataclass(frozen=True)
class OneStepMargin:
    """The one-step margins of one layer, over prompts.

    Attributes:
        model: the source the user named.
        layer: its id.
        prompts: how many prompts, those of smallest hash that do not fill the context.
        prompt_hash: of the set they are from.
        continuations: tokens that continue each of them, drawn by the seed.
        twins: tokens left out because a smaller id has the same embedding row.
        left_out: rows of the embedding left out because no token has them.
        seed: as said.
        minimum, median: of the prompts' margins, in the states' units; None where a state is not finite.
        resolution: the layer's resolution; None where it is not finite.
    """

    model: str
    layer: str
    prompts: int
    prompt_hash: str
    continuations: int
    twins: int
    left_out: int
    seed: int
    minimum: float | None
    median: float | None
    resolution: float | None


def one_step_margins(
    audit: Audited, *, prompts: int = 10, continuations: int = 1000
) -> tuple[OneStepMargin, ...]:
    """The one-step margins at the layers of the config, shallow first.

    Args:
        audit: of a model on a prompt set.
        prompts: how many prompts to continue; at most those of the set that leave room for a token.
        continuations: how many tokens continue each, one of each class of equal embedding rows; at
            most those the tokenizer knows.

    Raises:
        OptionError: fewer than one prompt, or fewer than two continuations, are asked for.
        PromptError: every prompt fills the context.

    Example:
        >>> margins = one_step_margins(audit, prompts=2, continuations=50)
        >>> margins[-1].layer, margins[-1].minimum > 0
        ('norm', True)
    """
    measured = audit.measurements
    if prompts < 1 or continuations < _FEWEST:
        raise OptionError(
            f"prompts={prompts} and continuations={continuations}: give at least 1 and at least 2"
        )
    decoder, layers = measured.target.decoder, measured.target.layers
    chosen = _with_room(measured, prompts)
    classes = measured.token_classes
    tokens = _drawn(classes.tokens, continuations, measured.target.config.seed)
    margins: dict[Layer, list[float]] = {layer: [] for layer in layers}
    measured.target.foretelling.before(
        lambda costs: costs.tables(
            layers, places=len(chosen), name="continuations", tokens=len(tokens)
        )
    )
    with measured.target.watcher.progress("continuations", len(chosen)) as advance:
        for done, ids in enumerate(chosen, 1):
            for layer, margin in _margins(decoder, ids, tokens, layers).items():
                margins[layer].append(margin)
            advance(done)
    return tuple(
        OneStepMargin(
            model=measured.target.config.model,
            layer=layer_id(layer),
            prompts=len(chosen),
            prompt_hash=measured.target.prompts.hash,
            continuations=len(tokens),
            twins=len(classes.known) - len(classes),
            left_out=classes.left_out,
            seed=measured.target.config.seed,
            minimum=_finite(float(np.min(margins[layer]))),
            median=_finite(float(np.median(margins[layer]))),
            resolution=_finite(measured.resolution(layer).value),
        )
        for layer in layers
    )


def _with_room(measured: Measurements, prompts: int) -> list[tuple[int, ...]]:
    context, ids = measured.target.decoder.context, measured.target.prompts.ids
    room = [at for at in range(len(ids)) if context is None or len(ids[at]) < context]
    if not room:
        raise PromptError(
            f"{measured.target.prompts.name}: every prompt fills the context of {context} tokens:"
            " shorter ones are needed to be continued"
        )
    ranked = sorted(room, key=measured.target.prompts.hashes.__getitem__)
    return [ids[at] for at in ranked[:prompts]]


def _drawn(tokens: Int64[Tensor, " tokens"], count: int, seed: int) -> Int64[Tensor, " drawn"]:
    generator = torch.Generator().manual_seed(seed)
    return tokens[torch.randperm(len(tokens), generator=generator)[:count]].sort().values


def _margins(
    decoder: Decoder, ids: Sequence[int], tokens: Int64[Tensor, " drawn"], layers: Sequence[Layer]
) -> dict[Layer, float]:
    prefix = decoder.prefix(torch.tensor(ids), max(layers, key=depth))
    tables = decoder.candidates(prefix, tokens, layers)
    return {layer: _margin(table) for layer, table in tables.items()}


def _margin(states: Float[Tensor, "drawn hidden"]) -> float:
    """The smallest distance of two rows; NaN where a row is not finite."""
    if not bool(states.isfinite().all()):
        return float("nan")
    # Distances are float64, which mps does not have.
    rows = states if states.device.type == "cuda" else states.cpu()
    return float(nearest_neighbors(rows).distance.min())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
