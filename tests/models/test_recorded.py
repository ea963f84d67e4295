"""Attention weights, routers' logits and the experts chosen are the library's own."""

import pytest
import torch

from pytest_injectivity.errors import ModelError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.recorded import MOST_ATTENDED, recorded, recorded_candidates
from pytest_injectivity.testing import tiny_decoder
from scripts.families.small_models import small_config, small_model

IDS = torch.tensor([[5, 1, 9, 30], [7, 7, 3, 12]])


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gemma2", "gpt_neox", "opt"])
def test_attention_weights_are_those_that_the_library_returns(family: str) -> None:
    """By position and head, those of later positions 0; the model computes on as it did."""
    decoder = tiny_decoder(family)
    before = decoder.model.config._attn_implementation
    rows = recorded(decoder, IDS, 2, "attention")
    assert before == decoder.model.config._attn_implementation
    decoder.model.set_attn_implementation("eager")
    weights = decoder.model(input_ids=IDS, output_attentions=True).attentions[1].transpose(1, 2)
    found = rows.unflatten(2, (-1, MOST_ATTENDED))
    assert torch.equal(weights, found[..., :4])
    assert not found[..., 4:].any()
    assert torch.allclose(torch.ones(2, 4, 4), found.sum(dim=3))


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_routing_is_what_the_library_returns(kind: str) -> None:
    """One logit an expert."""
    decoder = Decoder(kind, small_model(small_config(kind)))
    rows = recorded(decoder, IDS, 1, "routing")
    logits = decoder.model(input_ids=IDS, output_router_logits=True).router_logits[0]
    assert torch.equal(logits.view(rows.shape), rows)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_experts_are_those_of_the_largest_logits(kind: str) -> None:
    """Of all blocks side by side, a 1 for each that is chosen."""
    config = small_config(kind)
    decoder = Decoder(kind, small_model(config))
    rows = recorded(decoder, IDS, decoder.n_layers, "experts")
    logits = decoder.model(input_ids=IDS, output_router_logits=True).router_logits
    chosen = [one.topk(config.num_experts_per_tok, dim=-1) for one in logits]
    expected = [
        torch.zeros_like(one).scatter_(-1, largest.indices, 1.0)
        for one, largest in zip(logits, chosen, strict=True)
    ]
    assert torch.equal(torch.cat(expected, dim=-1).view(rows.shape), rows)


def test_routers_that_do_not_say_what_they_chose_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By name, with what is observed instead."""
    decoder = Decoder("mixtral", small_model(small_config("mixtral")))
    router = decoder.parts.blocks[0].mlp.gate
    whole = type(router).forward
    monkeypatch.setattr(type(router), "forward", lambda *given: whole(*given)[:2])
    with pytest.raises(ModelError, match="do not return the experts that they choose: observe rou"):
        recorded(decoder, IDS, 1, "experts")


@pytest.mark.parametrize(
    ("kind", "what"), [("llama", "attention"), ("mixtral", "routing"), ("mixtral", "experts")]
)
def test_a_candidate_behind_a_prefix_has_the_row_of_its_prompt(kind: str, what: str) -> None:
    """Down to rounding."""
    decoder = Decoder(kind, small_model(small_config(kind)))
    prefix = decoder.prefix(IDS[0, :3], 2)
    found = recorded_candidates(decoder, prefix, IDS[:, 3], 1, what)  # type: ignore[arg-type]
    whole = torch.cat([IDS[:1, :3].expand(2, -1), IDS[:, 3:]], dim=1)
    expected = recorded(decoder, whole, 1, what)[:, 3]  # type: ignore[arg-type]
    assert torch.allclose(expected, found, atol=1e-5)


def test_what_a_block_does_not_compute_is_refused() -> None:
    """By name, and where the library's table has no such row."""
    with pytest.raises(ModelError, match="where block 1 computes its routing"):
        recorded(tiny_decoder("llama"), IDS, 1, "routing")
    with pytest.raises(ModelError, match="where block 2 computes its attention"):
        recorded(tiny_decoder("mamba"), IDS, 2, "attention")


def test_longer_prompts_than_a_row_holds_are_refused() -> None:
    """A row of attention has one width at all positions."""
    ids = torch.ones(1, MOST_ATTENDED + 1, dtype=torch.long)
    with pytest.raises(PromptError, match="weights of 65 tokens: a row holds those of 64"):
        recorded(tiny_decoder("llama", context=128), ids, 1, "attention")
