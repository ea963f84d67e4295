"""Builds a small random model of every causal language model of the installed transformers.

The default configuration of a model type is shrunk field by field, by the fields' names (`SIZES`), and
so are the configurations inside it. Lists with an entry a layer are cut so that each kind of layer is
there. What the names do not tell is a row of `OVERRIDES`.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.models.towers import auto_class

VOCAB = 96
WINDOW = 8
CONTEXT = 64
LAYERS = 3

KINDS = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
"""The model types that transformers takes for causal language models."""

SEEING = tuple(
    kind
    for kind in {
        **MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        **MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    }
    if kind not in KINDS
)
"""The model types of transformers that take images or sound beside text."""

# The first pattern that a field's name matches in full decides; a field that no pattern matches keeps
# its default.
SIZES: tuple[tuple[str, int], ...] = (
    (r"(unpadded_|decoder_|shape_|pronunciation_)?vocab_size(_per_layer_input)?", VOCAB),
    (
        r"max_position_embeddings|n_positions|n_ctx|max_seq_len|model_max_length|context_length",
        CONTEXT,
    ),
    (r"max_(source|target)_positions", CONTEXT),
    (r"num_hidden_layers|n_layers?|num_layers|num_blocks|(num_)?(en|de)coder_layers", LAYERS),
    (r"(sliding|local_attention|attention|keep)?_?window(_size|_len)?", WINDOW),
    (r"sliding_window_size|local_attention|attention_chunk_size", WINDOW),
    (r"(num_|n_|swa_num_|en|de|num_en|num_de)*(coder_)?attention_heads|n_heads?|num_heads", 4),
    (r"(swa_)?num_(key_value|kv|query)_heads|num_kv_heads", 2),
    (r"(swa_)?head_dim|d_head|dim_head|kv_channels|v_head_dim|qk_nope_head_dim|linear_head_dim", 8),
    (r"qk_rope_head_dim|rotary_dim", 4),
    (r"qk_head_dim", 12),
    (r"index_head_dim", 16),
    (r"linear_num_heads", 4),
    # Few heads leave scores at zero together, and equal scores are chosen from by chance.
    (r"index_n_heads", 16),
    (r"linear_num_key_heads", 2),
    (r"linear_num_value_heads", 4),
    (r"linear_(key|value)_head_dim", 8),
    (r"(kv|q|o)_lora_rank|laurel_rank|adapter_rank|hc_lowrank|gated_norm_rank", 8),
    (r"index_topk(_blocks)?", 4),
    (r"index_block_size", 4),
    (r"num_(local_)?experts|n_routed_experts|moe_num_experts|zero_expert_num", 4),
    (r"num_experts_per_tok(en)?|moe_topk|moe_k", 2),
    (r"n_group|topk_group|num_expert_group", 1),
    (r"n_shared_experts|num_shared_experts|moe_num_shared_experts", 1),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index", 1),
    (r"moe_layer_end_index", LAYERS - 1),
    (r"num_kv_shared_layers|num_nextn_predict_layers", 0),
    (r".*intermediate_size.*|.*ffn_(hidden_)?(dim|size)|dff|dim_ff|d_inner|feed_forward_size", 48),
    (r"hidden_size_per_layer_input|ple_embed_dim|router_hidden_size", 8),
    (r"(attention_|.*_)?hidden_size|n_embd|d_model|emb(edding)?_dim|.*embedding_size", 32),
    (r"word_embed_proj_dim|lru_width|mamba_d_ssm|prompt_mid_dim", 32),
    (r"(mamba_d_|ssm_)?state(_size)?", 4),
    (r"(mamba_)?n_groups|mamba_ngroups", 1),
    (r"(mamba_)?chunk_size|mamba_chunk_size|.*attn_chunk_length", 8),
    (r"time_step_rank|mamba_dt_rank", 4),
    (r"query_pre_attn_scalar", 8),
    (r"original_max_position_embeddings", CONTEXT),
    (
        r"embed_dim|image_size|out_hidden_size|projection_dim|adapter_(in|out)_dim|adapter_input_size|output_dim",
        32,
    ),
    (r"depth", 2),
    (r"patch_size", 8),
)

# Ids of special tokens must lie inside the small vocabulary.
SPECIAL = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 3,
    "cls_token_id": 4,
}

_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8}
_HEAD = {"head_dim": 8}
_GLOBAL = {"global_head_dim": 16}
_LATENT = {"num_key_value_heads": 4}
_KINDS = ["linear_attention", "hybrid", "linear_attention", "hybrid"]
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

# Rotations by time, height and width, each a share of the half of a head.
_THREE_AXES = {"rope_parameters": {**_ROPE, "mrope_section": [1, 1, 2]}}

OVERRIDES: dict[str, Mapping[str, Any]] = {
    "axk1": _LATENT,
    "axk2": _LATENT,
    "bailing_hybrid": _LATENT,
    "bamba": _MAMBA,
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}},
    "deepseek_v2": {**_LATENT, "num_experts_per_tok": 2, "n_routed_experts": 4},
    "deepseek_v3": _LATENT,
    "deepseek_v32": _LATENT,
    # Longer than the other windows, so that prefixes can be tried within it.
    "doge": {"keep_window_size": 24},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "dots3_note_text": {
        "head_dim": 12,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 8,
        "swa_kv_lora_rank": 8,
        "swa_head_dim": 12,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
        **_LATENT,
    },
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 1},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "gemma4_text": _GLOBAL,
    "gemma4_unified_text": _GLOBAL,
    "glm4_moe_lite": _LATENT,
    "glm4v_moe_text": {
        "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]}
    },
    "glm4v_text": _THREE_AXES,
    "glm5_next_text": {**_LATENT, "index_topk": 8, "index_kpool": 2},
    "glm_ocr_text": _THREE_AXES,
    "glm_moe_dsa": _LATENT,
    "gpt_neo": {
        "attention_types": [[["global", "local", "global"], 1]],
        "attention_layers": ["global", "local", "global"],
    },
    "granitemoehybrid": {
        **_MAMBA,
        "num_local_experts": 4,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
    "hunyuan_v1_dense": _HEAD,
    "hunyuan_v1_moe": _HEAD,
    "hunyuan_vl_text": {
        **_HEAD,
        "rope_parameters": {**_ROPE, "xdrope_section": [1, 1, 1, 1]},
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": _LATENT,
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "longcat_flash": {**_LATENT, "head_dim": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "minicpm3": _LATENT,
    "ministral": _HEAD,
    "mistral4": _LATENT,
    "mistral_large4_text": _LATENT,
    "mllama_text_model": {"cross_attention_layers": [1]},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 4},
    "nemotron": {"num_key_value_heads": 2},
    "qwen2_5_omni_text": _THREE_AXES,
    "qwen2_5_vl_text": _THREE_AXES,
    "qwen2_vl_text": _THREE_AXES,
    "step3p5": {"sliding_window": WINDOW},
    "paddleocr_vl_text": _THREE_AXES,
    "xlstm": {"mode": "inference"},
    "xmod": {"default_language": "en_XX"},
    "youtu": _LATENT,
    "zamba": {
        "layers_block_type": _KINDS,
        "num_hidden_layers": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""By model type, values that the names of the fields do not tell."""


def small_config(kind: str, settings: Mapping[str, Any] = {}) -> PreTrainedConfig:
    """A small configuration of a model type, with these values beside its sizes."""
    with quiet():
        return _shrunk(CONFIG_MAPPING[kind], {**OVERRIDES.get(kind, {}), **settings})


def small_model(config: PreTrainedConfig, seed: int = 0) -> Any:
    """A random model of a configuration, in float32; the same seed gives the same weights."""
    from_config: Any = auto_class(config).from_config
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = from_config(config, dtype=torch.float32)
        _draw(model, torch.Generator().manual_seed(seed))
    return model.eval()


def _shrunk(cls: type[PreTrainedConfig], given: Mapping[str, Any]) -> PreTrainedConfig:
    """The configuration of a class with its sizes, and those of the configurations in it, shrunk."""
    default = cls()
    # The library refuses to read a value that differs from layer to layer: its field's default then.
    read = vars(default)
    values = {one.name: read.get(one.name, one.default) for one in dataclasses.fields(cls)}
    given = {**OVERRIDES.get(str(cls.model_type), {}), **given}
    long = max(
        (value for name, value in values.items() if _size(name) == LAYERS and _a_size(value)),
        default=0,
    )
    kinds = [
        value for value in values.values() if _a_layer(value, long) and isinstance(value[0], str)
    ]
    layers = max([LAYERS, *(len(set(one)) + 1 for one in kinds)])
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        size = _size(name)
        if name in SPECIAL and _a_size(value):
            chosen[name] = SPECIAL[name]
        elif name == "rope_parameters" and value and "mrope_section" in value:
            chosen[name] = {**value, "mrope_section": [1, 1, 2]}
        elif isinstance(value, PreTrainedConfig):
            chosen[name] = _shrunk(type(value), {})
        elif _a_size(value) and size is not None:
            chosen[name] = layers if size == LAYERS and value == long else size
        elif _a_layer(value, long):
            chosen[name] = _cut(value, layers, size)
    return cls(**{**chosen, **given})


def _a_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _size(name: str) -> int | None:
    return next((size for pattern, size in SIZES if re.fullmatch(pattern, name)), None)


def _a_layer(value: Any, long: int) -> bool:
    """Whether a value is a list with an entry a layer."""
    return (
        isinstance(value, (list, tuple))
        and 0 < len(value) == long
        and not isinstance(value[0], (list, dict))
    )


def _cut(value: Any, layers: int, size: int | None) -> list[Any]:
    if isinstance(value[0], str):
        kinds = list(dict.fromkeys(value))
        return [kinds[at % len(kinds)] for at in range(layers)]
    return [size if size is not None else one for one in value[:layers]]


def _draw(model: Any, generator: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * 0.2
            # Decay rates of recurrences: states would overflow if they were drawn anew.
            keep = parameter.ndim < 2 or name.endswith(("A_log", "time_decay"))  # noqa: PLR2004
            parameter.copy_(parameter + 0.1 * drawn if keep else drawn)
