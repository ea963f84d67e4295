from collections.abc import Callable

import numpy as np
import pytest
import torch

from pytest_injectivity.audit.measurements.minimal_edits import edit_ratios
from pytest_injectivity.prompts.metrics import PromptMetric
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.testing import additive_decoder, tiny_decoder

LEVENSHTEIN, PER_LENGTH = PromptMetric.LEVENSHTEIN, PromptMetric.LEVENSHTEIN_PER_LENGTH


@pytest.fixture
def prompts() -> Callable[..., PromptSet]:
    """Prompts of lengths 1 to ``longest``, as many as asked for."""

    def made(count: int, longest: int = 5) -> PromptSet:
        random = np.random.default_rng(0)
        ids: dict[tuple[int, ...], None] = {}
        while len(ids) < count:
            ids[tuple(random.integers(0, 60, 1 + len(ids) % longest).tolist())] = None
        return PromptSet("test", tuple(ids), None, special_tokens=False)

    return made


@pytest.mark.parametrize("layer", [1, 2, "norm"])
def test_each_ratio_is_that_of_one_changed_token(layer: int | str) -> None:
    """Every ratio is the distance to one of the prompt's neighbors at edit distance 1."""
    decoder = tiny_decoder("llama", vocab=12)
    some = PromptSet("test", ((1, 2, 3), (4,), (5, 6)), None, special_tokens=False)
    found = edit_ratios(decoder, some, LEVENSHTEIN, [layer], seed=0)[layer]
    assert len(some) == len(found.ratio)
    for ids, ratio in zip(some.ids, found.ratio, strict=True):
        own = decoder.states(torch.tensor([ids]), [layer])[layer][0, -1].double()
        distances = [
            float(
                (
                    decoder.states(torch.tensor([edited]), [layer])[layer][0, -1].double() - own
                ).norm()
            )
            for place in range(len(ids))
            for token in range(12)
            if (edited := [*ids[:place], token, *ids[place + 1 :]]) != list(ids)
        ]
        assert min(abs(ratio - distance) for distance in distances) < 1e-5


def test_a_metric_per_length_counts_one_edit_as_one_over_the_length(
    prompts: Callable[..., PromptSet],
) -> None:
    """The ratios are then larger by the length."""
    decoder, some = tiny_decoder(), prompts(20)
    whole = edit_ratios(decoder, some, LEVENSHTEIN, [1], seed=0)[1]
    divided = edit_ratios(decoder, some, PER_LENGTH, [1], seed=0)[1]
    np.testing.assert_allclose(whole.ratio * some.lengths, divided.ratio, rtol=1e-12)


def test_a_change_before_the_last_token_does_not_move_what_does_not_look_back() -> None:
    """In a decoder whose blocks write nothing only a changed last token moves the state."""
    tokens = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    decoder = additive_decoder(tokens, torch.zeros(8, 16))
    some = PromptSet("test", tuple((1, 2, 3, at) for at in range(40)), None, special_tokens=False)
    ratio = edit_ratios(decoder, some, LEVENSHTEIN, [1], seed=0)[1].ratio
    moved = ratio > 0
    assert 0 < moved.sum() < 40
    table = torch.cdist(tokens.double(), tokens.double()).numpy()
    for at in np.flatnonzero(moved):
        assert np.abs(table[at] - ratio[at]).min() < 1e-12


def test_the_sample_is_bounded_and_drawn_by_hash(prompts: Callable[..., PromptSet]) -> None:
    """256 of more prompts, whatever their order."""
    decoder, many = tiny_decoder(), prompts(300)
    found = edit_ratios(decoder, many, LEVENSHTEIN, [1], seed=0)[1]
    assert 256 == len(found.ratio)
    subset = edit_ratios(decoder, many.subset(256), LEVENSHTEIN, [1], seed=0)[1]
    np.testing.assert_array_equal(subset.ratio, found.ratio)


def test_the_order_of_the_prompts_does_not_matter(prompts: Callable[..., PromptSet]) -> None:
    """Each prompt has its own edit, wherever it stands."""
    decoder, some = tiny_decoder(), prompts(20)
    turned = some.take(range(len(some))[::-1], some.name)
    one, other = (edit_ratios(decoder, p, LEVENSHTEIN, [1], seed=0)[1] for p in (some, turned))
    np.testing.assert_array_equal(one.ratio, other.ratio[::-1])


def test_the_seed_decides(prompts: Callable[..., PromptSet]) -> None:
    """Equal seeds give equal edits at all layers, other seeds others."""
    decoder, some = tiny_decoder(), prompts(30)
    one, again, other = (
        edit_ratios(decoder, some, LEVENSHTEIN, [1, 2], seed=seed) for seed in (1, 1, 2)
    )
    for layer in (1, 2):
        np.testing.assert_array_equal(one[layer].ratio, again[layer].ratio)
        assert (one[layer].ratio != other[layer].ratio).any()


def test_every_prompt_has_a_partner(prompts: Callable[..., PromptSet]) -> None:
    """Its edited self, which stands behind the sample."""
    found = edit_ratios(tiny_decoder(), prompts(10), LEVENSHTEIN, [2], seed=0)[2]
    assert found.partnered.all()
    np.testing.assert_array_equal(np.arange(10) + 10, found.partner)
