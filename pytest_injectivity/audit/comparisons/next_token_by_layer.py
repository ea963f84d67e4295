"""The divergence of a model's next tokens from its parent's by layer, kept in the store."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.comparisons.basis import turn_of
from pytest_injectivity.audit.comparisons.next_token import CONFIDENCE, chosen_prompts, clustered
from pytest_injectivity.core.layers import Layer, layer_id, spread_over
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.results.summary import Estimate, NextToken

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.next_token_by_layer import LayerDivergences

_SHARE = 0.5


@dataclass(frozen=True)
class LayerDivergencesKey(NumberKey):
    """Names the divergences of next tokens by layer.

    Attributes:
        prompts: how many prompts are read at most.
        tokens: how many tokens of each.
        layers: where the parent goes on from the model's states.
    """

    prompts: int
    tokens: int
    layers: tuple[Layer, ...]


def next_tokens_by_layer(against: "Against") -> dict[str, Estimate]:
    """The mean divergence where the parent goes on from the model's states of a layer, by its id.

    Layers whose states, or whose logits, are not finite are left out.

    Args:
        against: the model and its parent.

    Raises:
        OptionError: no prompt is long enough.
    """
    # It imports torch, which costs seconds at the start of every run.
    from pytest_injectivity.plan.costs import (
        LAYERS_BY_LAYER,
        PROMPTS_BY_LAYER,
        TOKENS_BY_LAYER,
    )

    target = against.child.target
    layers = spread_over(target.layers, LAYERS_BY_LAYER)
    few = chosen_prompts(against, PROMPTS_BY_LAYER, TOKENS_BY_LAYER, second_half=False)

    def compute() -> "LayerDivergences":
        from pytest_injectivity.reference.next_token_by_layer import layer_divergences

        child, parent = target.decoder, against.parent.target.decoder
        ids = [target.prompts.ids[row][:TOKENS_BY_LAYER] for row in few]
        with target.watcher.progress("next tokens by layer", len(ids)) as advance:
            return layer_divergences(
                child, parent, ids, layers, turn=turn_of(against), progress=advance
            )

    found = against.remember(
        LayerDivergencesKey(PROMPTS_BY_LAYER, TOKENS_BY_LAYER, layers), compute
    )
    return {
        layer_id(layer): Estimate.of(*clustered(nats, found.prompt, CONFIDENCE))
        for layer, nats in zip(layers, found.nats, strict=True)
        if np.isfinite(nats).all()
    }


def where_it_comes_from(found: NextToken) -> str:
    """Says by which layer half of a divergence is there; empty where nothing diverges, or is known."""
    whole = found.kl.value
    values = {layer: one.value or 0.0 for layer, one in found.kl_by_layer.items()}
    if not whole or not values:
        return ""
    first = next((one for one, value in values.items() if value >= _SHARE * whole), None)
    layer = first or list(values)[-1]
    words = "half of the KL is there by" if first else "less than half of the KL is there by"
    return (
        f"{words} {layer}: {values[layer]:.3g} of {whole:.3g} nats where the parent goes on from the"
        f" model's states of {layer}"
    )
