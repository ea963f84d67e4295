from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import (
    additive_decoder,
    byte_tokenizer,
    double_block,
    plant_equal_embeddings,
    plant_nan,
    round_weights,
    save_checkpoint,
    tiny_decoder,
    untie_head,
)

IDS = torch.tensor([[5, 9, 2, 9], [5, 9, 7, 9], [1, 2, 3, 4]])


def _pairs_equal(states: Tensor) -> set[tuple[int, int]]:
    """The unordered pairs of rows equal in every coordinate, found by comparing each."""
    return {(i, j) for i in range(len(states)) for j in range(i) if states[i].equal(states[j])}


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_an_untied_head_is_changed_alone(family: str, tmp_path: Path) -> None:
    """The embedding stays as it was, in memory and in a checkpoint; the logits were the same before."""
    tied = tiny_decoder(family)
    before = tied.next_token_logits(IDS[0])
    decoder = untie_head(tied)
    assert torch.equal(before, decoder.next_token_logits(IDS[0]))
    model: Any = decoder.model
    model.get_output_embeddings().weight.zero_()
    loaded = load_decoder(str(save_checkpoint(decoder, tmp_path)))
    assert not loaded.next_token_logits(IDS[0]).any()
    assert torch.equal(decoder.embedding_matrix(), loaded.embedding_matrix())
    assert loaded.embedding_matrix().any()


@pytest.mark.parametrize("family", TABLE)
def test_no_two_prompts_of_a_tiny_decoder_collide(family: str) -> None:
    """Prompts that differ in their first token only are well apart at layers 1 to L."""
    decoder = tiny_decoder(family)
    prompts = torch.cat([torch.arange(64)[:, None], torch.full((64, 4), 3)], dim=1)
    last = torch.full((64,), 4)
    every = decoder.states(prompts, decoder.layers, positions=last)
    assert (1, 2, "norm") == tuple(every)
    for states in every.values():
        distances = torch.pdist(states.double())
        assert distances.min() > 1e-5 * states.norm(dim=1).mean()


def test_the_seed_decides_the_weights() -> None:
    """Equal seeds give equal states, other seeds others, and torch's own generator stays put."""
    state = torch.random.get_rng_state()
    one, again, other = (tiny_decoder(seed=s).states(IDS, [2])[2] for s in (1, 1, 2))
    assert one.equal(again)
    assert not one.equal(other)
    assert state.equal(torch.random.get_rng_state())


@pytest.mark.parametrize("family", TABLE)
def test_no_parameter_of_a_tiny_decoder_is_constant(family: str) -> None:
    """Every tensor is drawn: one that is all ones or zeros would hide a mistake."""
    parameters = dict(tiny_decoder(family).model.named_parameters())
    assert parameters
    assert [] == [name for name, one in parameters.items() if one.unique().numel() < 2]


def test_the_shape_is_as_asked() -> None:
    """Layers, width, vocabulary, context, dtype and further settings are the arguments."""
    decoder = tiny_decoder(
        "qwen2", layers=3, hidden=24, vocab=50, context=40, dtype=torch.bfloat16, rms_norm_eps=0.5
    )
    assert (3, 24, 50, 40) == (
        decoder.n_layers,
        decoder.hidden_size,
        decoder.vocab_size,
        decoder.context,
    )
    assert (torch.bfloat16, 0.5) == (decoder.dtype, decoder.model.config.rms_norm_eps)


def test_an_unknown_family_is_refused() -> None:
    """The message lists the families."""
    with pytest.raises(OptionError, match=r"family 'bert' is not in the table: .* gpt2, .* mamba"):
        tiny_decoder("bert")


@given(seed=st.integers(0, 2**31), layers=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_the_states_of_an_additive_decoder_are_its_tables(seed: int, layers: int) -> None:
    """At layers 0 to L a state is the token's row plus the position's, to the bit."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(10, 6, generator=generator)
    positions = torch.randn(8, 6, generator=generator)
    decoder = additive_decoder(tokens, positions, layers=layers)
    states = decoder.states(IDS, [0, *decoder.layers])
    expected = tokens[IDS] + positions[:4]
    for layer in range(layers + 1):
        assert states[layer].equal(expected)
    centered = expected - expected.mean(-1, keepdim=True)
    normed = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(states["norm"], normed, rtol=1e-4, atol=1e-5)


def test_an_additive_decoder_has_the_dtype_of_its_tables() -> None:
    """Tables in float64 give states in float64."""
    decoder = additive_decoder(torch.eye(4).double(), torch.zeros(5, 4).double())
    assert torch.float64 == decoder.dtype
    assert torch.eye(4)[[3, 1]].equal(decoder.states(torch.tensor([[3, 1]]), [2])[2][0].float())


@pytest.mark.parametrize("family", TABLE)
def test_planted_rows_collide_at_every_layer_and_alone(family: str) -> None:
    """Prompts that differ in the two tokens only collide everywhere; no other pair does."""
    decoder = plant_equal_embeddings(tiny_decoder(family), kept=2, copied=7)
    last = torch.full((3,), 3)
    states = decoder.states(IDS, decoder.layers, positions=last)
    for layer in decoder.layers:
        assert {(1, 0)} == _pairs_equal(states[layer])
    assert not _pairs_equal(tiny_decoder(family).states(IDS, [1], positions=last)[1])


@pytest.mark.parametrize("family", TABLE)
@pytest.mark.parametrize("layer", [1, 3])
def test_a_planted_nan_begins_at_its_layer(family: str, layer: int) -> None:
    """Shallower states are finite; from the layer on every state is NaN."""
    decoder = plant_nan(tiny_decoder(family, layers=3), layer)
    states = decoder.states(IDS, [0, *decoder.layers])
    assert [0, 1, 2, 3, "norm"] == list(states)
    for at, found in states.items():
        shallow = at != "norm" and at < layer
        assert found.isfinite().all() if shallow else found.isnan().all()


@pytest.mark.parametrize("layer", [0, 3])
def test_a_nan_needs_a_block(layer: int) -> None:
    """No block writes layer 0, or a layer past the last."""
    with pytest.raises(OptionError, match=f"no block writes layer0{layer}: give 1 to 2"):
        plant_nan(tiny_decoder(), layer)


@given(st.text())
def test_the_byte_tokenizer_loses_nothing(text: str) -> None:
    """The ids of a text are its bytes, and they decode to it."""
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode(text)
    assert list(text.encode()) == ids
    assert text == tokenizer.decode(ids)


def test_the_byte_tokenizer_can_put_a_token_before_every_text() -> None:
    """The special token is left out where special tokens are."""
    tokenizer = byte_tokenizer(bos=True)
    assert [256, 97] == tokenizer.encode("a")
    assert [97] == tokenizer.encode("a", add_special_tokens=False)
    assert 256 == tokenizer.bos_token_id


def test_a_saved_checkpoint_brings_its_tokenizer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The decoder's own tokenizer is written, and nothing is printed."""
    decoder = tiny_decoder("llama", vocab=256, tokenizer=byte_tokenizer())
    loaded = load_decoder(str(save_checkpoint(decoder, tmp_path / "new" / "folder")))
    assert [97, 98] == loaded.tokenizer.encode("ab")
    assert ("", "") == capfd.readouterr()


def _is_linear(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim == 2


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("group", [8, 64])
def test_rounded_weights_lie_on_a_grid_of_their_group(family: str, group: int) -> None:
    """Inputs of an output share a scale: GPT-2 holds its matrices transposed."""
    whole, rounded = tiny_decoder(family), round_weights(tiny_decoder(family), 3, group=group)
    transposed = family == "gpt2"
    matrices = [
        [part.weight.double() for part in decoder.parts.blocks[0].modules() if _is_linear(part)]
        for decoder in (rounded, whole)
    ]
    assert len(matrices[0]) >= 4
    for own, theirs in zip(*matrices, strict=True):
        one, other = (weight.T if transposed else weight for weight in (own, theirs))
        size = one.shape[1] if one.shape[1] % group else group
        for values, before in zip(one.split(size, 1), other.split(size, 1), strict=True):
            scale = before.abs().amax(1, keepdim=True) / 3
            torch.testing.assert_close(values / scale, (values / scale).round(), atol=1e-5, rtol=0)
            assert ((values - before).abs() <= scale / 2 + 1e-6).all()
            assert len((values / scale).round().unique()) <= 7


def test_what_is_not_named_is_not_rounded() -> None:
    """Other blocks, embeddings, norms and biases stay as they are."""
    whole, rounded = tiny_decoder(layers=3), round_weights(tiny_decoder(layers=3), 2, blocks=[2])
    before = dict(whole.model.named_parameters())
    changed = {
        name
        for name, parameter in rounded.model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert changed
    assert all(name.startswith("transformer.h.1.") for name in changed)
    assert all(before[name].ndim == 2 for name in changed)


def test_a_doubled_block_has_twice_its_matrices() -> None:
    """Those of one block, and nothing else."""
    whole, doubled = tiny_decoder("llama"), double_block(tiny_decoder("llama"), 2)
    before = dict(whole.model.named_parameters())
    assert any(name.startswith("model.layers.1.") for name in before)
    for name, parameter in doubled.model.named_parameters():
        twice = name.startswith("model.layers.1.") and parameter.ndim == 2
        assert torch.equal(parameter, before[name] * (2 if twice else 1))


@pytest.mark.parametrize("layer", [0, 3, -1])
def test_only_blocks_can_be_rounded_or_doubled(layer: int) -> None:
    """Layer 0 is no block."""
    with pytest.raises(OptionError, match="no block writes"):
        round_weights(tiny_decoder(), 4, blocks=[layer])
    with pytest.raises(OptionError, match="no block writes"):
        double_block(tiny_decoder(), layer)


def test_one_bit_is_refused() -> None:
    """It has no zero."""
    with pytest.raises(OptionError, match="bits=1: give an integer from 2"):
        round_weights(tiny_decoder(), 1)
