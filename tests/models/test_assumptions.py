import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.models.assumptions import Assumptions, assumptions, equal_pairs
from pytest_injectivity.testing import byte_tokenizer, plant_equal_embeddings, tiny_decoder

ACTIVATION = {
    "gpt2": "gelu_new",
    "gpt_neo": "gelu_new",
    "gpt_neox": "gelu",
    "opt": "relu",
    "llama": "silu",
    "mistral": "silu",
    "qwen2": "silu",
    "qwen3": "silu",
    "gemma2": "gelu_pytorch_tanh",
    "gemma3_text": "gelu_pytorch_tanh",
    "phi3": "silu",
    "falcon": "gelu",
    "mamba": "silu",
}


@pytest.mark.parametrize("family", ACTIVATION)
def test_a_family_is_looked_up(family: str) -> None:
    """The assumptions are read from the model itself; only OPT's ReLU is not analytic."""
    found = assumptions(tiny_decoder(family))
    assert ACTIVATION[family] == found.activation
    assert (family != "opt") == found.analytic == found.hold
    assert (16, 0) == (found.width, found.duplicated_rows)
    assert found.norm_eps in {1e-5, 1e-6}


def test_the_least_epsilon_of_the_modules_counts() -> None:
    """One norm without an epsilon breaks the assumption, whatever the configuration says."""
    decoder = tiny_decoder("llama")
    decoder.parts.blocks[1].post_attention_layernorm.variance_epsilon = 0.0
    found = assumptions(decoder)
    assert 0.0 == found.norm_eps
    assert not found.hold
    assert "norm eps 0 NOT ABOVE 0" in found.line


def test_padding_of_the_embedding_is_no_duplicate() -> None:
    """Rows that no token has are often all alike; tokens among them count."""
    decoder = tiny_decoder("llama", vocab=300, tokenizer=byte_tokenizer())
    decoder.parts.embeddings.weight[256:] = 0.0
    assert assumptions(decoder).hold
    plant_equal_embeddings(decoder, kept=3, copied=40)
    assert 1 == assumptions(decoder).duplicated_rows


@pytest.mark.parametrize("tied", [True, False])
def test_tied_rows_are_told_from_untied(*, tied: bool) -> None:
    """The head shares the embedding's weights, or it does not."""
    found = assumptions(tiny_decoder("llama", tie_word_embeddings=tied))
    assert tied == found.tied
    assert ("tied" if tied else "untied") in found.line


def test_planted_rows_are_counted_as_pairs() -> None:
    """Three equal rows are three pairs, two more one pair."""
    decoder = plant_equal_embeddings(tiny_decoder(), 3, 7)
    plant_equal_embeddings(decoder, 3, 60)
    plant_equal_embeddings(decoder, 0, 1)
    found = assumptions(decoder)
    assert 4 == found.duplicated_rows
    assert not found.hold
    assert "4 DUPLICATED PAIRS" in found.line


def test_the_line_says_everything() -> None:
    """One line in which what does not hold stands in capitals."""
    good = Assumptions(
        activation="gelu_new",
        analytic=True,
        width=128,
        norm_eps=1e-5,
        tied=True,
        duplicated_rows=0,
    )
    assert good.hold
    assert (
        "gelu_new (analytic), width 128, norm eps 1e-05, embedding rows tied, none equal"
        == good.line
    )
    bad = Assumptions(
        activation="relu", analytic=False, width=2, norm_eps=None, tied=False, duplicated_rows=1
    )
    assert not bad.hold
    assert (
        "relu (NOT known to be analytic), width 2 BELOW 4, norm eps NOT FOUND,"
        " embedding rows untied, 1 DUPLICATED PAIRS"
    ) == bad.line


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0]), st.sampled_from([2.0, 3.0]))))
def test_equal_pairs_are_those_of_every_comparison(rows: list[tuple[float, float]]) -> None:
    """The count equals that of comparing each pair; minus zero is zero."""
    expected = sum(a == b for i, a in enumerate(rows) for b in rows[:i])
    assert expected == equal_pairs(torch.tensor(rows).reshape(-1, 2))
