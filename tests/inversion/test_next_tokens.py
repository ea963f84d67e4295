import pytest
import torch

from pytest_injectivity.inversion.next_tokens import expected_tokens
from pytest_injectivity.testing import tiny_decoder

PREFIXES = [[3], [9, 2, 41, 7, 7, 20, 1, 5, 33], [8, 1], [60, 4, 17]]


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "mamba"])
def test_the_tokens_expected_are_ranked_by_the_models_logits(family: str) -> None:
    """Prefixes of different lengths in one call, each as the library ranks what follows it alone."""
    decoder = tiny_decoder(family).as_float64()
    found = expected_tokens(decoder, PREFIXES)
    with torch.no_grad():
        alone = [decoder.model(torch.tensor([one])).logits[0, -1] for one in PREFIXES]
    expected = [one.argsort(descending=True).tolist() for one in alone]
    assert expected == [one.tolist() for one in found]


def test_at_most_so_many_tokens_are_named() -> None:
    """Those of the largest logits."""
    decoder = tiny_decoder()
    assert [one[:5].tolist() for one in expected_tokens(decoder, PREFIXES)] == [
        one.tolist() for one in expected_tokens(decoder, PREFIXES, 5)
    ]


def test_a_part_of_an_order_does_not_hold_the_memory_of_all_of_it() -> None:
    """A thousand prompts that wait would hold gigabytes of a large vocabulary."""
    found = expected_tokens(tiny_decoder(vocab=512), [PREFIXES[0]], 5)
    assert [5 * 8] == [one.untyped_storage().nbytes() for one in found]


def test_a_token_whose_logit_is_nan_is_expected_last() -> None:
    """A broken row of the head hides no other token."""
    decoder = tiny_decoder(tie_word_embeddings=False)
    decoder.model.get_output_embeddings().weight[11] = torch.nan
    (found,) = expected_tokens(decoder, [[3, 5]])
    assert 11 == found[-1]
    assert list(range(64)) == sorted(found.tolist())


def test_no_prefix_has_no_tokens_expected() -> None:
    """Nothing is run for nothing."""
    assert [] == expected_tokens(tiny_decoder(), [])
