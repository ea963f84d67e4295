"""What a model makes of the rows of a layer: which directions of a row its next tokens depend on.

A sender that knows this can put noise where it costs least. To second order the divergence of next-token
distributions is ``d^T F d / 2`` for a row that is moved by ``d``. ``F`` is Fisher's information: the
mean of ``g g^T``, where ``g`` is the gradient of the log-probability of next tokens that are drawn from
the model. It is estimated on texts that the model writes, never on a prompt that is read, so that
everybody can compute it.
"""

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.errors import ModelError
from pytest_injectivity.inversion.lens_calibration import usable_tokens
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.resume import differentiable_logits
from pytest_injectivity.privacy.releases.observed import Observed

_TEXTS = 48
# Draws of the next tokens of each text.
_DRAWS = 4
# Logits that are held at once with their gradients.
_MOST_LOGITS = 2**24


_HELD: WeakKeyDictionary[Observed, dict[int, "RowUse"]] = WeakKeyDictionary()


def row_use(observed: Observed, seed: int) -> "RowUse":
    """What the model makes of rows like those observed, computed once for all strengths of a noise.

    Args:
        observed: rows of states; their model is known.
        seed: of the texts, and of the next tokens that are drawn.
    """
    held = _HELD.setdefault(observed, {})
    if seed not in held:
        if observed.model is None:
            raise TypeError("rows from elsewhere have no model")
        lengths = max(map(len, observed.prompts))
        held[seed] = RowUse(observed.model, observed.layer, lengths, observed.known, seed)
    return held[seed]


@dataclass(frozen=True, eq=False)
class RowUse:
    """The rows of texts at a layer, and what the model goes on to make of them.

    Attributes:
        model: the model.
        layer: the layer.
        length: of the texts.
        known: how the texts begin.
        seed: of the texts, and of the next tokens that are drawn.
    """

    model: Decoder
    layer: Layer
    length: int
    known: tuple[int, ...]
    seed: int

    @cached_property
    def rows(self) -> Float[Tensor, "rows width"]:
        """The rows of all texts, on the CPU; those of position 0 are left out where there are others."""
        return self._later(self._states)

    @cached_property
    def sensitivity(self) -> Float64[Tensor, "width width"]:
        """Fisher's information of the next tokens from a row's position on, by a row's coordinates."""
        parts: list[Tensor] = []
        step = max(1, _MOST_LOGITS // (self._texts.shape[1] * self.model.vocab_size))
        draw = torch.Generator().manual_seed(self.seed)
        for ids, states in zip(
            torch.split(self._texts, step), torch.split(self._states, step), strict=True
        ):
            given = states.clone().requires_grad_()
            logprobs = (
                differentiable_logits(self.model, ids, self.layer, given).float().log_softmax(-1)
            )
            flat = logprobs.flatten(0, 1)
            odds = flat.detach().cpu().exp()
            for _ in range(_DRAWS):
                drawn = torch.multinomial(odds, 1, generator=draw).to(flat.device)
                (found,) = torch.autograd.grad(
                    flat.gather(1, drawn).sum(), given, retain_graph=True
                )
                parts.append(self._later(found))
        gradients = torch.cat(parts).double()
        return gradients.T @ gradients / len(gradients)

    @cached_property
    def _states(self) -> Float[Tensor, "texts length width"]:
        return self.model.states(self._texts, [self.layer])[self.layer].detach()

    @cached_property
    def _texts(self) -> Int64[Tensor, "texts length"]:
        """Texts that the model writes, as long as the prompts and beginning as they do."""
        draw = torch.Generator().manual_seed(self.seed)
        usable = usable_tokens(self.model)
        known = torch.tensor(self.known, dtype=torch.long).expand(_TEXTS, -1)
        first = usable[torch.randint(len(usable), (_TEXTS, 1), generator=draw)]
        texts = torch.cat([known, first], dim=1)
        while texts.shape[1] < self.length:
            last = torch.full((_TEXTS,), texts.shape[1] - 1)
            odds = self.model.last_logits(texts, last).float().cpu().softmax(dim=1)[:, usable]
            if not bool(odds.isfinite().all()):
                raise ModelError(
                    f"{self.model.source}: its logits have a NaN or an infinity, and it writes no texts:"
                    " audit the model first (assert_no_collisions)"
                )
            drawn = torch.multinomial(odds + 1e-12, 1, generator=draw)
            texts = torch.cat([texts, usable[drawn]], dim=1)
        return texts

    def _later(self, states: Float[Tensor, "texts length width"]) -> Float[Tensor, "rows width"]:
        return states[:, min(1, states.shape[1] - 1) :].flatten(0, 1).float().cpu()
