"""Mixtures of experts: routed by top-k, and run one expert after the other in float64."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.models.assumptions import assumptions
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.experts import used_numbers
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.testing import tiny_decoder
from scripts.families.small_models import small_config, small_model
from tests.repetitions import mostly_slow

MIXTURES = ("mixtral", "qwen3_moe", "gpt_oss")
ROW = torch.arange(5, 45)[None]


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_float64_copy_computes_the_same_function(
    kind: str, relative: Callable[[Tensor, Tensor], float]
) -> None:
    """The library's grouped products have no float64; one expert after the other has."""
    decoder = Decoder(kind, small_model(small_config(kind)))
    found = decoder.as_float64().states(ROW, ["norm"])["norm"]
    assert torch.float64 == found.dtype
    assert relative(decoder.states(ROW, ["norm"])["norm"], found) <= 1e-5


def test_the_float64_copy_leaves_the_experts_of_the_model_alone() -> None:
    """What is audited goes on with the library's own choice."""
    decoder = Decoder("mixtral", small_model(small_config("mixtral")))
    before = decoder.model.config._experts_implementation
    decoder.as_float64()
    assert "eager" != before
    assert before == decoder.model.config._experts_implementation


@pytest.mark.parametrize("kind", MIXTURES)
def test_routing_is_named_among_the_assumptions(kind: str) -> None:
    """A choice by the largest scores jumps at ties, so the architecture is not analytic."""
    found = assumptions(Decoder(kind, small_model(small_config(kind))))
    assert found.routed
    assert not found.hold
    assert not found.analytic_architecture
    assert "ROUTED by top-k (NOT analytic at ties)" in found.line


def test_a_dense_decoder_is_not_routed() -> None:
    """Nothing is said of routing where nothing is routed."""
    found = assumptions(tiny_decoder("llama"))
    assert not found.routed
    assert "ROUTED" not in found.line


@pytest.mark.parametrize("kind", mostly_slow(MIXTURES, "mixtral"))
def test_a_mixture_of_experts_can_be_audited(kind: str, tmp_path: Path) -> None:
    """The gate of collisions comes to a verdict, noise floor in float64 included."""
    with quiet():
        small_model(small_config(kind)).save_pretrained(tmp_path / "model")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(96, (12, 30), generator=generator).tolist()
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"ids": {row}}}\n' for row in rows))
    config = AuditConfig(
        model=str(tmp_path / "model"), prompts=str(tmp_path / "prompts.jsonl"), device="cpu"
    )
    assert Audit(config).check_no_collisions("all").passed


@pytest.mark.parametrize("kind", MIXTURES)
def test_of_experts_only_those_of_a_token_count(kind: str) -> None:
    """Two of four experts are multiplied with a token; all else is."""
    config = small_config(kind)
    blocks = Decoder(kind, small_model(config)).parts.blocks
    every = dict(blocks.named_parameters())
    of_experts = sum(one.numel() for name, one in every.items() if ".experts." in name)
    expected = sum(one.numel() for one in every.values()) - of_experts // 2
    assert (2, 4) == (config.num_experts_per_tok, config.num_local_experts)
    assert expected == used_numbers(blocks, config)


def test_experts_of_attention_count_as_others_and_a_router_meets_every_token() -> None:
    """JetMoE holds both beside each other."""
    config = small_config("jetmoe")
    blocks = Decoder("jetmoe", small_model(config)).parts.blocks
    every = dict(blocks.named_parameters())
    stacked = sum(one.numel() for one in every.values() if one.dim() == 3)
    assert 0 < stacked
    expected = sum(one.numel() for one in every.values()) - stacked // 2
    assert (2, 4) == (config.num_experts_per_tok, config.num_local_experts)
    assert expected == used_numbers(blocks, config)


def test_a_mixture_that_does_not_say_how_many_are_chosen_counts_all() -> None:
    """An upper bound rather than a guess."""
    blocks = Decoder("mixtral", small_model(small_config("mixtral"))).parts.blocks
    every = sum(one.numel() for one in blocks.parameters())
    assert every == used_numbers(blocks, small_config("llama"))
