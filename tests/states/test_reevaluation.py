"""Pairs evaluated again side by side: equal bits are a collision, anything else is not."""

import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.states.reevaluation import equal_when_evaluated_together
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder

LAYERS: tuple[Layer, ...] = (0, 1, 2, "norm")
# 1 and 3 differ from 0 and 2 only where 7 stands for 3; 4 is a prompt of its own.
PROMPTS = [[5, 3, 9], [5, 7, 9], [*range(40), 3, 1], [*range(40), 7, 1], [8] * 61]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("context", [64, 61])
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("together", [16, 4096])
def test_planted_pairs_are_equal_and_no_others(
    family: str, context: int, layer: Layer, together: int
) -> None:
    """At every layer, also where a pass holds one of the pair, and at the end of an odd context."""
    prompts = [*PROMPTS, [7, *[8] * 60], [3, *[8] * 60]]
    decoder = plant_equal_embeddings(tiny_decoder(family, context=context), kept=3, copied=7)
    pairs = [(0, 1), (2, 3), (5, 6), (0, 4), (1, 2), (4, 5)]
    equal = equal_when_evaluated_together(decoder, prompts, pairs, layer, batch_tokens=together)
    # The last pair shares its last token and position: layer 0 sees nothing else.
    assert [True, True, True, False, False, layer == 0] == equal


def test_no_pairs_are_no_work() -> None:
    """Nothing is evaluated where nothing is in doubt."""
    assert [] == equal_when_evaluated_together(tiny_decoder("gpt2"), PROMPTS, [], 1)


def test_nan_is_equal_to_nothing() -> None:
    """Rows that are not finite are no collision."""
    decoder = tiny_decoder("gpt2")
    with torch.no_grad():
        decoder.parts.embeddings.weight.fill_(torch.nan)
    assert [False] == equal_when_evaluated_together(decoder, [[1], [2]], [(0, 1)], 1)
