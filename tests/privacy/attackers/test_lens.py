from pytest_injectivity.privacy.attackers.embedding import EmbeddingAttacker
from pytest_injectivity.privacy.attackers.lens import LensAttacker
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts

_LOOKS = (EmbeddingAttacker(), LensAttacker())


def test_the_lens_reads_more_than_embeddings_do() -> None:
    """A calibrated look at a deeper layer, far above chance (1 in 64), without running a candidate."""
    found = attacks(tiny_decoder("gpt2"), "2", ["identity"], drawn_prompts(8, 5), attackers=_LOOKS)
    embedding, lens = (found["identity", name, True].token_rate for name in ("embedding", "lens"))
    assert embedding < lens
    assert lens > 0.3


def test_a_cache_is_not_looked_at() -> None:
    """A lens has vectors of states, not of keys and values."""
    found = attacks(
        tiny_decoder("gpt2"), "1 kv", ["identity"], drawn_prompts(2, 3), attackers=_LOOKS
    )
    assert not found
