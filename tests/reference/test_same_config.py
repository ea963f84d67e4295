"""Fields in which two configurations make another function, and fields in which they do not."""

from typing import Any

import pytest
from transformers import AutoConfig

from pytest_injectivity.models.checkpoint import resolve
from pytest_injectivity.reference.differences import Effect
from pytest_injectivity.reference.same_config import config_differences
from pytest_injectivity.reference.same_function import function_differences
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests import quantized
from tests.gguf_files import ARCHITECTURES, write_gguf

KINDS = ["bamba", "falcon", "gemma3_text", "gpt_neo", "llama4_text", "mamba2", "mixtral", "phi3"]
CHANGES, MAY = Effect.CHANGES, Effect.MAY
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# llama.cpp knows which layers of a gemma3 have windows: all but each sixth.
LAYERS = {
    "gemma3_text": {
        "layers": 6,
        "layer_types": [*["sliding_attention"] * 5, "full_attention"],
    }
}


def _config(kind: str = "llama", **settings: Any) -> Any:
    return AutoConfig.for_model(kind, **settings)


def _found(kind: str, parent: dict[str, Any], child: dict[str, Any]) -> list[tuple[str, Effect]]:
    pair = _config(kind, **parent, **child), _config(kind, **parent)
    return [(one.field, one.effect) for one in config_differences(*pair)]


@pytest.mark.parametrize(
    ("kind", "child", "field"),
    [
        ("llama", {"rms_norm_eps": 1e-5}, "rms_norm_eps"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("gpt2", {"activation_function": "relu"}, "activation_function"),
        ("llama", {"max_position_embeddings": 64}, "max_position_embeddings"),
        ("gpt2", {"n_positions": 64}, "n_positions"),
        ("llama", {"rope_theta": 5e5}, "rope_parameters.rope_theta"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_parameters.factor",
        ),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"num_key_value_heads": 4}, "num_key_value_heads"),
        ("mistral", {"sliding_window": 16}, "sliding_window"),
        ("gemma2", {"attn_logit_softcapping": None}, "attn_logit_softcapping"),
        ("gemma2", {"final_logit_softcapping": 15.0}, "final_logit_softcapping"),
        ("gemma2", {"query_pre_attn_scalar": 224}, "query_pre_attn_scalar"),
        ("granite", {"embedding_multiplier": 12.0}, "embedding_multiplier"),
        ("granite", {"residual_multiplier": 0.22}, "residual_multiplier"),
        ("granite", {"attention_multiplier": 0.1}, "attention_multiplier"),
        ("granite", {"logits_scaling": 8.0}, "logits_scaling"),
        ("mixtral", {"num_experts_per_tok": 1}, "num_experts_per_tok"),
        ("qwen3_moe", {"norm_topk_prob": True}, "norm_topk_prob"),
        ("gpt_neox", {"use_parallel_residual": False}, "use_parallel_residual"),
        ("llama", {"bos_token_id": 5}, "bos_token_id"),
        ("llama", {"eos_token_id": [2, 7]}, "eos_token_id"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ],
)
def test_a_field_that_changes_the_function_is_named(
    kind: str, child: dict[str, Any], field: str
) -> None:
    """With both values and its effect, among the differences that change the function."""
    assert (field, CHANGES) in _found(kind, {}, child)


def test_both_bases_of_two_kinds_of_attention_are_compared() -> None:
    """The field names the kind whose base differs, and the other one is equal."""
    local = {**ROPE, "rope_theta": 20000.0}
    rope = {"full_attention": {**ROPE, "rope_theta": 1e6}, "sliding_attention": local}
    child = _config("gemma3_text", rope_parameters=rope)
    (found,) = config_differences(child, _config("gemma3_text"))
    assert "rope_parameters.sliding_attention.rope_theta" == found.field
    assert ("2e+04", "1e+04") == (found.child, found.parent)


@pytest.mark.parametrize(
    "child",
    [
        {"dtype": "float16"},
        {"attention_dropout": 0.1},
        {"initializer_range": 0.5},
        {"use_cache": False},
        {"architectures": ["Other"]},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"rms_norm_eps": 9.999999974752427e-07},
        {"hidden_act": "swish"},
        {"head_dim": 128},
        {"rope_parameters": ROPE},
        {"unsloth_version": "2026.1"},
        {"rope_interleaved": False},
        {"num_return_sequences": 1, "typical_p": 1.0},
        {"cache_implementation": "hybrid"},
    ],
)
def test_a_field_that_changes_nothing_is_not_listed(child: dict[str, Any]) -> None:
    """Nor is one at its default, in another spelling, or rounded to 32 bits."""
    assert [] == _found("llama", {}, child)


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_of_any_kind_is_its_own(kind: str) -> None:
    """Also read back from what it says; infinite limits and nested objects are compared too."""
    config = _config(kind)
    again = type(config).from_dict(config.to_dict())
    assert () == config_differences(again, _config(kind))


def test_a_field_that_no_rule_knows_may_change_the_function() -> None:
    """It is listed, and apart from those that do."""
    assert [("colour", MAY)] == _found("llama", {}, {"colour": "blue"})
    # Its name is one that changes the function, and no Llama reads it.
    assert [("hidden_activation", MAY)] == _found("llama", {}, {"hidden_activation": "gelu"})
    assert [("tie_word_embeddings", MAY)] == _found("llama", {}, {"tie_word_embeddings": True})


def test_differences_that_change_the_function_come_first() -> None:
    """Those that only may follow."""
    found = _found("llama", {}, {"aspect": 1, "rms_norm_eps": 1e-5, "zebra": 2})
    assert [("rms_norm_eps", CHANGES), ("aspect", MAY), ("zebra", MAY)] == found


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ({"sliding_window": None}, {"sliding_window": 99}),
        ({"use_sliding_window": False}, {"sliding_window": 8}),
        ({"num_hidden_layers": 4}, {"max_window_layers": 9}),
    ],
)
def test_a_window_that_no_layer_has_is_no_difference(
    parent: dict[str, Any], child: dict[str, Any]
) -> None:
    """Nor where it begins, where no layer has one."""
    shared = {"num_hidden_layers": 4, "max_position_embeddings": 64}
    pair = [_config("qwen2", **{**shared, **parent, **more}) for more in (child, {})]
    assert () == config_differences(*pair)


def test_a_window_as_long_as_the_context_is_none() -> None:
    """And one that is shorter is one."""
    parent = {"sliding_window": None, "max_position_embeddings": 64}
    pairs = [
        (_config("mistral", **{**parent, "sliding_window": window}), _config("mistral", **parent))
        for window in (64, 63)
    ]
    assert [0, 1] == [len(config_differences(*pair)) for pair in pairs]


def test_a_llama_with_the_fields_of_a_mistral_is_one() -> None:
    """Files of other tools name a Mistral so; other kinds may compute something else."""
    shared = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    same = {**shared, "intermediate_size": 128, "max_position_embeddings": 64, "vocab_size": 99}
    eps = {"rms_norm_eps": 1e-6, "num_hidden_layers": 2, "head_dim": 16}
    mistral = _config("mistral", **same, **eps, sliding_window=None)
    assert () == config_differences(_config("llama", **same, **eps), mistral)
    kinds = [one.field for one in config_differences(_config("qwen3", **same, **eps), mistral)]
    assert "model_type" in kinds


def test_an_id_that_only_the_tokenizer_says_is_the_models() -> None:
    """A configuration without an id of the end takes its tokenizer's."""
    tokenizer = byte_tokenizer(bos=True)
    pair = (_config("llama", bos_token_id=256), _config("llama", bos_token_id=None))
    assert () == config_differences(*pair, (tokenizer, tokenizer))
    (found,) = config_differences(*pair, (None, None))
    assert ("bos_token_id", "256", "none", MAY) == (
        found.field,
        found.child,
        found.parent,
        found.effect,
    )


def test_what_is_quoted_of_a_file_is_short_and_harmless() -> None:
    """A hostile name and value do not reach the terminal as they are."""
    child = _config("llama", **{"x\x1b[31m": "##[error]" + "a" * 10_000, "n": 10**400})
    found = config_differences(child, _config("llama"))
    assert 2 == len(found)
    assert max(len(one.words) for one in found) < 300
    assert not {"\x1b", "##["} & {
        part for one in found for part in ("\x1b", "##[") if part in one.words
    }


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_a_file_of_the_same_model_differs_in_nothing(family: str, tmp_path: Any) -> None:
    """Its configuration is made from metadata, which say less and say it in 32 bits."""
    decoder = tiny_decoder(family, vocab=260, **LAYERS.get(family, {}))
    folder = save_checkpoint(decoder, tmp_path / "parent")
    path = write_gguf(decoder, tmp_path / "child.gguf")
    assert () == function_differences(resolve(str(path)), resolve(str(folder)))


@pytest.mark.parametrize("kind", ["bnb-nf4", "ct-W4A16", "gguf-Q4_0", "gptq", "awq"])
def test_a_quantized_child_differs_in_nothing(kind: str, tmp_path: Any) -> None:
    """With its tokenizer; what its quantization says is no difference."""
    quantized.needs(kind)
    rope = {"rope_type": "default", "rope_theta": 50_000.0}
    full = quantized.saved_parent(tmp_path / "full", rope_parameters=rope)
    child = quantized.write(kind, full, tmp_path / "child")
    assert () == function_differences(resolve(str(child)), resolve(str(full)))


def test_a_file_whose_metadata_say_another_eps_is_named(tmp_path: Any) -> None:
    """As a folder's would be."""
    decoder = tiny_decoder("llama", vocab=260)
    folder = save_checkpoint(decoder, tmp_path / "parent")
    entries = {"attention.layer_norm_rms_epsilon": 1e-3}
    path = write_gguf(decoder, tmp_path / "child.gguf", entries=entries)
    (found,) = function_differences(resolve(str(path)), resolve(str(folder)))
    assert "rms_norm_eps" == found.field
