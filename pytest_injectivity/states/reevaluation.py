"""Prompts evaluated again side by side, to tell a collision from rounding (SPEC section 2)."""

from collections.abc import Sequence

from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import padded_length, plan_batches

_TOGETHER = 4096


def equal_when_evaluated_together(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int]],
    layer: Layer,
) -> list[bool]:
    """Whether the last-token states of each pair are equal when computed in one shape.

    Both prompts are padded to the longer one's bucket and run in canonical batches, in which a
    row's bits do not depend on its neighbours (`batches`).

    Args:
        decoder: the model.
        prompts: token ids.
        pairs: indexes into ``prompts``.
        layer: the layer compared.
    """
    widths: dict[int, list[int]] = {}
    for at, pair in enumerate(pairs):
        width = padded_length(max(len(prompts[prompt]) for prompt in pair))
        widths.setdefault(min(width, decoder.context or width), []).append(at)
    equal = [False] * len(pairs)
    for width, members in widths.items():
        rows = _states(decoder, prompts, {p for at in members for p in pairs[at]}, width, layer)
        for at in members:
            left, right = (rows[prompt] for prompt in pairs[at])
            equal[at] = bool((left == right).all())
    return equal


def _states(
    decoder: Decoder, prompts: Sequence[Sequence[int]], wanted: set[int], width: int, layer: Layer
) -> dict[int, Tensor]:
    ordered = sorted(wanted)
    chosen = [prompts[prompt] for prompt in ordered]
    found: dict[int, Tensor] = {}
    for batch in plan_batches(
        [width] * len(chosen), batch_tokens=_TOGETHER, context=decoder.context
    ):
        states = decoder.states(batch.ids(chosen), [layer], positions=batch.last_positions(chosen))[
            layer
        ]
        found |= {ordered[row]: states[at] for at, row in enumerate(batch.rows)}
    return found
