"""The divergence of next tokens by layer: what a child's blocks up to a layer do to them.

The parent goes on from the child's states of a layer, and its next tokens are compared with those it
predicts by itself: ``KL(parent || parent from the child's states)``. At layer 0 the embeddings alone are
the child's, at ``norm`` everything but the head. So the curve shows where a divergence comes from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float64, Int64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.divergence import compare_logits
from pytest_injectivity.models.resume import logits, logits_from_states
from pytest_injectivity.reference.errors.turn import Turn
from pytest_injectivity.reference.next_token import judged_positions


@dataclass(frozen=True, eq=False)
class LayerDivergences:
    """The divergences of next tokens, by layer and position.

    Attributes:
        prompt: the index of the prompt of each position.
        nats: a row a layer.
    """

    prompt: Int64[np.ndarray, " positions"]
    nats: Float64[np.ndarray, "layers positions"]


def layer_divergences(
    child: Decoder,
    parent: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    turn: Turn | None = None,
    progress: Callable[[int], None] | None = None,
) -> LayerDivergences:
    """How far the parent's next tokens move when it goes on from its child's states.

    Every layer takes a pass of the parent over each prompt.

    Args:
        child: the model.
        parent: the model it was made from, of the same shape.
        prompts: token ids, of at least two tokens each; next tokens are compared from position 1 on.
        layers: where the child's states take the place of the parent's.
        turn: from the basis of the child, where its states are the parent's in another one.
        progress: called with the number of prompts done.

    Returns:
        The divergences in nats; NaN where a logit is.

    Example:
        >>> from pytest_injectivity.testing import round_weights, tiny_decoder
        >>> parent, child = tiny_decoder("llama"), round_weights(tiny_decoder("llama"), 4, blocks=[2])
        >>> found = layer_divergences(child, parent, [[1, 2, 3], [4, 5]], (0, 1, 2))
        >>> found.prompt.tolist(), found.nats.any(axis=1).tolist()
        ([0, 0, 1], [False, False, True])
    """
    every, own = [], []
    for number, ids in enumerate(prompts):
        tokens = torch.tensor(ids)
        positions = list(judged_positions(len(ids)))
        exact = logits(parent, tokens)[positions]
        states = child.states(tokens[None], layers)
        nats = []
        for layer in layers:
            given = _given(layer, states[layer], parent, turn)
            went_on = logits_from_states(parent, tokens, layer, given)[0, positions]
            nats.append(compare_logits(exact, went_on).nats)
        every.append(torch.stack(nats))
        own += [number] * len(positions)
        if progress is not None:
            progress(number + 1)
    return LayerDivergences(np.array(own, dtype=np.int64), torch.cat(every, dim=1).numpy())


def _given(layer: Layer, states: Tensor, parent: Decoder, turn: Turn | None) -> Tensor:
    """The child's states as the parent computes with them."""
    own = states if turn is None else turn.to_parent(layer, states)
    return own.to(parent.device, parent.dtype)
