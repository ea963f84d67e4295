"""The parts of models of every family of the table."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CodeGenConfig, CodeGenForCausalLM

from pytest_injectivity import load_decoder
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.reference.parts import parts_of, unlike_part
from pytest_injectivity.testing import save_checkpoint, tiny_decoder
from scripts.families.small_models import small_config, small_model

FUSED = {"gpt2", "gpt_neox", "phi3", "falcon"}


@pytest.mark.parametrize("family", TABLE)
def test_every_number_of_a_model_is_in_one_part(family: str) -> None:
    """And in no second one, but for a head that shares the embeddings' matrix."""
    decoder = tiny_decoder(family)
    held = sum(
        tensor.numel()
        for part in parts_of(decoder)
        for _, tensor in part.tensors(decoder)
        if part.site != "head"
    )
    head = decoder.model.get_output_embeddings().weight
    tied = head.data_ptr() == decoder.parts.embeddings.weight.data_ptr()
    own = 0 if tied else head.numel()
    assert held + own == sum(one.numel() for one in decoder.model.parameters())


@pytest.mark.parametrize("family", sorted(FUSED))
def test_fused_projections_are_split_into_what_they_compute(family: str) -> None:
    """A half that is made zero leaves queries, keys or values of zero, as a hook sees them."""
    decoder = tiny_decoder(family, layers=1)
    parts = [part for part in parts_of(decoder) if part.outputs is not None]
    assert {"q", "k", "v"} <= {part.role for part in parts}
    every = torch.cat([part.outputs for part in parts if part.role in {"q", "k", "v"}])
    assert every.sort().values.equal(torch.arange(len(every)))


def test_values_of_zero_make_an_attention_of_zero() -> None:
    """The rows that are called values are: of interleaved heads as well."""
    found = []
    for family in sorted(FUSED):
        decoder = tiny_decoder(family, layers=1)
        (values,) = [part for part in parts_of(decoder) if part.role == "v"]
        (output,) = [part for part in parts_of(decoder) if part.role == "o"]
        for name, tensor in values.of(decoder).named_parameters(recurse=False):
            rows = tensor if family != "gpt2" or name == "bias" else tensor.T
            rows[values.outputs] = 0.0
        seen: list[torch.Tensor] = []
        output.of(decoder).register_forward_pre_hook(
            lambda _, args, seen=seen: seen.append(args[0])
        )
        decoder.states(torch.tensor([[1, 2, 3]]), [1])
        found.append(float(seen[0].abs().max()))
    assert found == [0.0] * len(FUSED)


@pytest.mark.parametrize(
    ("child", "parent", "words"),
    [
        (tiny_decoder("llama"), tiny_decoder("llama"), ""),
        (tiny_decoder("qwen2"), tiny_decoder("llama"), ""),  # has biases of its own
        (tiny_decoder("llama"), tiny_decoder("qwen3"), "layer01 has no self_attn.q_norm"),
        (tiny_decoder("llama"), tiny_decoder("gpt2"), "layer00 has no wte"),
        (tiny_decoder("llama"), tiny_decoder("qwen2"), ""),  # lacks them
        (
            tiny_decoder("llama", intermediate_size=48),
            tiny_decoder("llama"),
            "layer01, mlp.gate_proj.weight is (48, 16), of the parent (32, 16)",
        ),
    ],
)
def test_a_part_that_a_child_lacks_is_named(child: Decoder, parent: Decoder, words: str) -> None:
    """A module, a tensor or another shape; biases that one of them has are no part."""
    assert words == unlike_part(child, parent)


def test_a_packed_layer_has_the_bias_that_it_holds_as_a_buffer(tmp_path: Path) -> None:
    """As layers of GPTQ and AWQ do."""
    pytest.importorskip("bitsandbytes", reason="the extra bnb is not installed")
    folder = save_checkpoint(tiny_decoder("gpt2", hidden=64), tmp_path / "parent")
    decoder = load_decoder(str(folder), device="cpu", quantization="bnb-nf4")
    (part,) = [one for one in parts_of(decoder) if one.name == "mlp.c_fc" and one.site == "layer01"]
    module: Any = part.of(decoder)
    bias = module.bias.detach()
    del module.bias
    module.register_buffer("bias", bias)
    assert "bias" not in dict(module.named_parameters(recurse=False))
    assert dict(part.tensors(decoder))["bias"].equal(bias)
    assert "" == unlike_part(decoder, tiny_decoder("gpt2", hidden=64))


def test_a_layout_that_is_not_known_is_left_whole() -> None:
    """CodeGen keeps values before keys, in four chunks."""
    config = CodeGenConfig(vocab_size=32, n_embd=16, n_head=4, n_layer=1, rotary_dim=2)
    decoder = Decoder("tiny:codegen", CodeGenForCausalLM(config))
    assert [part.outputs for part in parts_of(decoder) if "qkv_proj" in part.name] == [None]


@pytest.mark.parametrize(
    ("kind", "roles"),
    [
        ("mpt", {"norm_1": "attention norm", "norm_2": "mlp norm"}),
        ("apertus", {"attention_layernorm": "attention norm", "feedforward_layernorm": "mlp norm"}),
        ("olmo2", {"post_attention_layernorm": "", "post_feedforward_layernorm": ""}),
        ("glm4", {"input_layernorm": "attention norm", "post_attention_layernorm": "mlp norm"}),
    ],
)
def test_norms_are_told_apart_by_what_they_stand_before(kind: str, roles: dict[str, str]) -> None:
    """A norm behind attention feeds no MLP, whatever the same name means elsewhere."""
    decoder = Decoder(kind, small_model(small_config(kind, {})))
    found = {part.name: part.role for part in parts_of(decoder) if part.site == "layer01"}
    assert roles == {name: found[name] for name in roles}
