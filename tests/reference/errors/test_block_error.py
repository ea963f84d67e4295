"""Block errors against a brute force: block after block in float64, on the parent's states."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
)

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.block_error import SINK, BlockError, block_errors
from pytest_injectivity.reference.errors.post_norm import is_post_norm
from pytest_injectivity.testing import double_block, plant_nan, round_weights, tiny_decoder
from tests.repetitions import SOME_FAMILIES, mostly_slow

IDS = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12], [13], [14, 15, 16, 17, 18]]
FAMILIES = ("gpt2", "llama", "gemma2", "falcon", "gpt_neox", "mamba", "phi3", "opt")


def _errors(child: Decoder, parent: Decoder, ids: object = IDS) -> dict[str, BlockError]:
    return {one.site: one for one in block_errors(child, parent, ids)}  # type: ignore[arg-type]


def _swapped(child: Decoder, parent: Decoder, block: int, ids: list[int]) -> Tensor:
    """What the parent computes with one block of the child in the place of its own, after that block."""
    own = parent.parts.blocks[block - 1]
    blocks = parent.parts.blocks
    blocks[block - 1] = child.parts.blocks[block - 1]
    try:
        return parent.states(torch.tensor([ids]), [block])[block][0].double()
    finally:
        blocks[block - 1] = own


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
def test_a_block_is_compared_on_the_parents_states(family: str) -> None:
    """As where the child's block stands in the parent, relative to what the parent's block adds."""
    parent = tiny_decoder(family, layers=3)
    child = round_weights(tiny_decoder(family, layers=3), 4, group=8)
    found = _errors(child, parent)
    expected = {}
    for block in (1, 2, 3):
        sums = np.zeros(2)
        for ids in IDS:
            states = parent.states(torch.tensor([ids]), [block - 1, block])
            before, after = (states[layer][0].double() for layer in (block - 1, block))
            apart = _swapped(child, parent, block, ids) - after
            sums += [float(apart.square().sum()), float((after - before).square().sum())]
        expected[f"layer{block:02d}"] = math.sqrt(sums[0] / sums[1])
    assert {site: found[site].value for site in expected} == pytest.approx(expected, rel=2e-4)
    assert sum(map(len, IDS)) == found["layer02"].positions


def test_a_block_that_is_the_parents_has_no_error_whatever_those_before_it_do() -> None:
    """Drift adds up; a block's error is its own."""
    child = double_block(tiny_decoder("llama", layers=4), 2)
    found = _errors(child, tiny_decoder("llama", layers=4))
    assert {one.site for one in found.values() if one.value > 1e-6} == {"layer02"}


def test_embeddings_norm_and_head_are_sites_of_their_own() -> None:
    """Each red alone where it alone is changed."""
    parent = tiny_decoder("llama")

    def changed(change: Callable[[Decoder], Tensor]) -> dict[str, float]:
        child = tiny_decoder("llama")
        change(child)
        return {site: one.value for site, one in _errors(child, parent).items() if one.value > 1e-6}

    assert changed(lambda one: one.parts.embeddings.weight.mul_(1.5)) == {
        "layer00": pytest.approx(0.5)
    }
    assert changed(lambda one: one.parts.norm.weight.mul_(1.5)) == {"norm": pytest.approx(0.5)}
    assert changed(lambda one: one.model.lm_head.weight.neg_()) == {"head": pytest.approx(2.0)}


def test_what_a_softmax_does_not_see_is_no_error_of_the_head() -> None:
    """The same vector added to all rows of the head."""
    parent, child = tiny_decoder("llama"), tiny_decoder("llama")
    child.model.lm_head.weight.add_(3.0)
    assert _errors(child, parent)["head"].value < 1e-5


def test_the_largest_error_of_a_position_is_found_and_named() -> None:
    """One changed embedding row: the positions at which its token stands."""
    child = tiny_decoder("gpt2")
    child.parts.embeddings.weight[9].mul_(3.0)
    one = _errors(child, tiny_decoder("gpt2"))["layer00"]
    assert (1, 5) == (one.prompt, one.position)
    assert one.largest > 0.5
    assert one.q99 <= one.largest


def test_positions_with_far_longer_states_are_summed_apart() -> None:
    """Their norm would hide the error of all others."""
    parent, child = tiny_decoder("gpt2"), tiny_decoder("gpt2")
    for decoder in (parent, child):
        decoder.parts.embeddings.weight[1].mul_(100 * SINK)
    child.parts.embeddings.weight[2:].mul_(1.25)
    one = _errors(child, parent)["layer00"]
    assert (1, 0.0) == (one.sinks, one.of_sinks)
    assert 0.05 < one.value < 0.3


def test_nan_is_an_error_that_is_no_number() -> None:
    """At the block that writes it, and at no block before."""
    found = _errors(plant_nan(tiny_decoder("llama", layers=3), 2), tiny_decoder("llama", layers=3))
    assert {site for site, one in found.items() if math.isnan(one.value)} == {"layer02"}
    assert math.isnan(found["layer02"].q99)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_state_that_is_rounded_to_the_childs_dtype_is_no_error_of_its_block(
    dtype: torch.dtype,
) -> None:
    """A block that adds nothing has no error but its own rounding of the sum."""
    child = tiny_decoder("gpt2", dtype=dtype)
    found = _errors(child, tiny_decoder("gpt2"))
    unit = torch.finfo(dtype).eps
    assert 0 < found["layer01"].value < 4 * unit * max(1.0, found["layer01"].residual)


def test_experts_are_told_apart_by_the_tokens_sent_to_them() -> None:
    """An expert with doubled weights is the worst of its block."""

    def made() -> Decoder:
        torch.manual_seed(0)
        config = MixtralConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
            num_experts_per_tok=2,
            max_position_embeddings=64,
        )
        return Decoder("tiny:mixtral", MixtralForCausalLM(config).float())

    child = made()
    child.parts.blocks[0].mlp.experts.down_proj[2].mul_(2.0)
    ids = [[(7 * at + 3 * row) % 64 for at in range(20)] for row in range(4)]
    found = _errors(child, made(), ids)
    experts = found["layer01"].experts
    assert 4 == len(experts)
    assert 2 == int(np.nanargmax(experts))
    assert np.nanmax(experts) > found["layer01"].value > 0
    assert not found["layer02"].value > 1e-6


def test_blocks_that_end_in_a_norm_are_known() -> None:
    """Of the families of the table none is."""
    assert not any(is_post_norm(tiny_decoder(family)) for family in FAMILIES)


def test_a_block_that_ends_in_a_norm_is_compared_by_its_whole_output() -> None:
    """OPT's smallest models normalize after the sum."""
    parent, child = (tiny_decoder("opt", do_layer_norm_before=False, layers=2) for _ in range(2))
    child.parts.blocks[1].final_layer_norm.weight.mul_(1.5)
    child.parts.blocks[1].final_layer_norm.bias.mul_(1.5)
    assert is_post_norm(parent)
    assert 0.5 == pytest.approx(_errors(child, parent)["layer02"].value)


def test_nan_at_an_attention_sink_is_an_error_that_is_no_number() -> None:
    """Sinks are summed apart, and are not left out."""
    parent, child = tiny_decoder("gpt2"), tiny_decoder("gpt2")
    parent.parts.embeddings.weight[1].mul_(100 * SINK)
    child.parts.embeddings.weight[1] = torch.nan
    one = _errors(child, parent)["layer00"]
    assert 1 == one.sinks
    assert math.isnan(one.value)


def test_integers_that_a_recurrent_block_takes_are_no_experts() -> None:
    """RecurrentGemma's recurrence has stacked weights, and is called with positions."""

    def made() -> Decoder:
        torch.manual_seed(0)
        config = RecurrentGemmaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=1,
            lru_width=16,
            attention_window_size=8,
        )
        return Decoder("tiny:recurrent_gemma", RecurrentGemmaForCausalLM(config).float())

    found = _errors(round_weights(made(), 6), made())
    assert {"layer01", "layer02", "layer03"} < found.keys()
    assert 0 < found["layer01"].value < 1
    assert 0 == len(found["layer01"].experts)


def test_the_parent_is_held_against_itself_on_a_batch_of_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The states of all layers are held for them, however long prompts are."""
    parent = tiny_decoder("llama")
    sizes: list[int] = []
    own = parent.states

    def states(ids: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        sizes.append(ids.numel())
        return own(ids, layers)

    monkeypatch.setattr(parent, "states", states)
    found = block_errors(
        tiny_decoder("llama"), parent, [[at % 64] * 24 for at in range(4)], batch_tokens=32
    )
    assert 0.0 == found[1].value
    assert 32 == sizes[-1]
