"""The model's own expectation of the next token, as an order of candidates (SPEC section 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Int
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import plan_batches

_MOST_TOKENS = 4096
# Of the logits of one pass.
_MOST_ELEMENTS = 2**26


def expected_tokens(
    decoder: Decoder, prefixes: Sequence[Sequence[int]], count: int | None = None
) -> list[Int[Tensor, " tokens"]]:
    """The tokens that the model expects after each prefix, by falling logit, on the CPU.

    Args:
        decoder: the model.
        prefixes: of at least one token each.
        count: the most tokens that are named; None: all of which there is a logit.
    """
    found: dict[int, Tensor] = {}
    batch_tokens = min(_MOST_TOKENS, _MOST_ELEMENTS // decoder.vocab_size)
    lengths = list(map(len, prefixes))
    for batch in plan_batches(lengths, batch_tokens=batch_tokens, context=decoder.context):
        logits = decoder.last_logits(batch.ids(prefixes), batch.last_positions(prefixes))
        # A model may have more or fewer logits than embedding rows (padding to a multiple).
        wide = logits[: len(batch.rows), : decoder.vocab_size].float()
        wide = torch.where(wide.isnan(), -torch.inf, wide)
        order = wide.argsort(dim=1, descending=True, stable=True)[:, :count]
        # A copy: a part of the order would hold the memory of all of it.
        found |= dict(zip(batch.rows, order.cpu().clone(), strict=True))
    return [found[row] for row in range(len(prefixes))]
