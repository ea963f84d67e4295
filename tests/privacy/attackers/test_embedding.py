from pytest_injectivity.privacy.attackers.embedding import EmbeddingAttacker
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts


def test_embeddings_that_are_released_are_looked_up() -> None:
    """Layer 0 of a rotary model is the embedding row itself."""
    found = attacks(
        tiny_decoder("llama"),
        "0",
        ["identity"],
        drawn_prompts(2, 3),
        attackers=(EmbeddingAttacker(),),
    )
    assert 1.0 == found["identity", "embedding", True].prompt_rate


def test_a_cache_is_not_looked_at() -> None:
    """Embedding rows are vectors of states, not of keys and values."""
    look = (EmbeddingAttacker(),)
    assert not attacks(
        tiny_decoder("gpt2"), "1 kv", ["identity"], drawn_prompts(2, 3), attackers=look
    )
