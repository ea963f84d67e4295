"""Evaluates pairs of prompts again in one shape, to tell a collision from rounding (SPEC section 2)."""

from collections.abc import Sequence

from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import Batch, padded_length, plan_batches

_BATCH_TOKENS = 4096


def equal_when_evaluated_together(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int]],
    layer: Layer,
    *,
    batch_tokens: int = _BATCH_TOKENS,
) -> list[bool]:
    """Whether the last-token states of each pair are equal when computed in one shape.

    Both prompts are padded to the longer one's bucket and run in canonical batches, in which a
    row's bits do not depend on its neighbours (`batches`).

    Args:
        decoder: the model.
        prompts: token ids.
        pairs: indexes into ``prompts``.
        layer: the layer compared.
        batch_tokens: tokens of one forward pass.
    """
    widths: dict[int, list[int]] = {}
    for at, pair in enumerate(pairs):
        width = padded_length(max(len(prompts[prompt]) for prompt in pair))
        widths.setdefault(min(width, decoder.context or width), []).append(at)
    equal = [False] * len(pairs)
    for width, members in widths.items():
        wanted = sorted({prompt for at in members for prompt in pairs[at]})
        batches = plan_batches(
            [width] * len(wanted), batch_tokens=batch_tokens, context=decoder.context
        )
        rows = _states(decoder, prompts, wanted, batches, layer)
        for at in members:
            left, right = (rows[prompt] for prompt in pairs[at])
            equal[at] = bool((left == right).all())
    return equal


def _states(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    wanted: Sequence[int],
    batches: Sequence[Batch],
    layer: Layer,
) -> dict[int, Tensor]:
    """The last-token state of each prompt wanted, by its index."""
    chosen = [prompts[prompt] for prompt in wanted]
    found: dict[int, Tensor] = {}
    for batch in batches:
        states = decoder.states(batch.ids(chosen), [layer], positions=batch.last_positions(chosen))[
            layer
        ]
        found |= {wanted[row]: states[at] for at, row in enumerate(batch.rows)}
    return found
