"""The one-step map and the distances it is judged by (SPEC section 4).

``F(v; prefix)`` is the state, at one layer, of token ``v`` put after a prefix. To invert a state is
to find the ``v`` whose ``F(v; prefix)`` it is. How well that can be done depends on distances: from
the state to each candidate, and from a candidate to its nearest rival (``delta``, the local
margin). They are Euclidean, or scaled by the resolution of each coordinate (SPEC section 2).

Every distance is computed by subtraction in float64 from states in the model's own dtype. The usual
``|a|^2 + |b|^2 - 2ab`` loses the digits in which near candidates differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Float64, Int
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.states.scaled import Scale

# Not the usual |a|^2 + |b|^2 - 2ab.
_SUBTRACTED = "donot_use_mm_for_euclid_dist"


@dataclass(frozen=True, eq=False)
class OneStep:
    """The one-step map of one prefix at one layer.

    Attributes:
        decoder: the model.
        layer: the layer inverted.
        prefix: the tokens before the position, cached up to ``layer``; it may hold no token.
    """

    decoder: Decoder
    layer: Layer
    prefix: Prefix

    @classmethod
    def of(cls, decoder: Decoder, layer: Layer, ids: Sequence[int]) -> "OneStep":
        """The map after the prefix ``ids``, which may be empty (the first position)."""
        return cls(decoder, layer, decoder.prefix(_tokens(ids), layer))

    def after(self, token: int) -> "OneStep":
        """The map one position on, after ``token``; nothing cached is computed again."""
        longer = self.decoder.extend(self.prefix, _tokens([token]))
        return OneStep(self.decoder, self.layer, longer)

    def __call__(self, tokens: Int[Tensor, " candidates"]) -> Float[Tensor, "candidates hidden"]:
        """``F(v; prefix)`` of each token, in the model's dtype, in bounded batches."""
        return self.decoder.candidates(self.prefix, tokens, [self.layer])[self.layer]


def distances(
    states: Float[Tensor, "candidates hidden"],
    target: Float[Tensor, " hidden"],
    scale: Scale | None = None,
) -> Float64[Tensor, " candidates"]:
    """Distances of candidates from a state, on the CPU; infinite where not finite.

    Args:
        states: in the dtype the model computed them in.
        target: a finite state, in any floating dtype, on the same device.
        scale: the resolution of each coordinate, for scaled distances; None: Euclidean.
    """
    return distances_from_each(states, target[None], scale)[0]


def distances_from_each(
    states: Float[Tensor, "candidates hidden"],
    targets: Float[Tensor, "targets hidden"],
    scale: Scale | None = None,
    *,
    block_elements: int = 2**22,
) -> Float64[Tensor, "targets candidates"]:
    """Distances of candidates from several states, as `distances` gives them from one.

    Args:
        states: of the candidates, in the dtype the model computed them in.
        targets: finite states, in any floating dtype, on the same device.
        scale: as for `distances`.
        block_elements: of one float64 temporary, 32 MB by default whatever the vocabulary and the width
            are.
    """
    step = max(1, block_elements // max(1, states.shape[1]))
    # Apple's GPUs have no float64.
    home = torch.device("cpu") if states.device.type == "mps" else states.device
    unscaled = Tensor.double if scale is None else scale.divided
    exact = unscaled(targets.to(home))
    parts = [
        torch.cdist(exact, unscaled(part.to(home)), compute_mode=_SUBTRACTED)
        for part in torch.split(states, step)
    ]
    found = torch.cat(parts, dim=1).cpu()
    return torch.where(found.isnan(), torch.inf, found)


def local_margins(
    states: Float[Tensor, "candidates hidden"],
    answers: Int[Tensor, " answers"],
    scale: Scale | None = None,
) -> Float64[Tensor, " answers"]:
    """``delta``: how far each of these rows lies from its nearest rival; infinite without one."""
    away = distances_from_each(states, states[answers.to(states.device)], scale)
    away[torch.arange(len(answers)), answers] = torch.inf
    return away.min(dim=1).values


def local_margin(
    states: Float[Tensor, "candidates hidden"], answer: int, scale: Scale | None = None
) -> float:
    """``delta`` of row ``answer``."""
    return float(local_margins(states, torch.tensor([answer]), scale))


def _tokens(ids: Sequence[int]) -> Int[Tensor, " tokens"]:
    return torch.tensor(list(ids), dtype=torch.long)
