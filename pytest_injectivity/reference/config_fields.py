"""What the fields of a configuration mean for the function that a model computes (SPEC section 7).

Fields are known by their names, which families share. A field that no rule knows may change the
function.
"""

import re
from collections.abc import Mapping
from typing import Any

from pytest_injectivity.reference.differences import Effect

_NOTHING = re.compile(
    # Where the files come from, and what wrote them.
    r"_?(model_)*name_or_path|transformers_version|architectures|auto_map|tokenizer_class|unsloth.*"
    # How numbers are held, which the audit says apart.
    r"|(torch_)?dtype|quantization_config|compression_config|use_cache|(inference|autocast).*dtype"
    # How weights are drawn, and what is done only in training.
    r"|.*initializer.*|.*init_std|init_device|.*init_variance_scale|rescale_prenorm_residual"
    r"|time_step_(floor|init_scheme)|.*(dropout|drop_prob|dropout_p|pdrop|layerdrop).*"
    r"|.*jitter.*|.*(aux|z)_loss.*|pretraining_tp|gradient_checkpointing|mask_(time|feature)_.*"
    # What a call returns, heads that no causal model has, and how a text is drawn.
    r"|output_(attentions|hidden_states|router_logits|past)|(use_)?return_dict|torchscript"
    r"|id2label|label2id|num_labels|problem_type|task_specific_params|(summary|classifier)_.*"
    r"|is_(encoder_)?decoder|add_cross_attention|chunk_size_feed_forward|num_logits_to_keep"
    r"|temperature|top_[kp]|typical_p|do_sample|num_(beams|beam_groups|return_sequences)"
    r"|(min|max)_(new_tokens|length)|.*penalty|.*no_repeat_ngram_size|early_stopping|output_scores"
    r"|return_dict_in_generate|(begin_)?suppress_tokens|bad_words_ids|forced_(bos|eos)_token_id"
    r"|remove_invalid_values|cache_implementation"
    # Which kernel computes the same.
    r"|_?(attn|experts)_implementation(_.*)?|use_(mamba_kernels|mambapy|mem_eff_path|flash_attn)"
    # What predicts further tokens for speculative decoding.
    r"|(num_nextn_predict|num_mtp)_layers|mtp_.*"
)
_CHANGES = re.compile(
    r".*(rope|rotary|alibi|eps$|epsilon|window|sliding|layer_types|attention_(types|layers|chunk)"
    r"|position|n_ctx|context_length|max_seq_len|soft_?cap|multiplier|scal(e|ing|ar)|mup|clip"
    r"|bias|bidirectional|causal|head|kv|expert|moe|top_?k|router|norm|parallel|residual|layers?$|n_embd|_size$).*"
    r"|(.*_)?act(ivation)?(_function|_fn)?|afn|(bos|eos|unk)_token_id"
)
# The weights decide whether an own head computes what a tied one does.
_WEIGHTS_DECIDE = {"tie_word_embeddings"}

# Other names of one function.
_ACTIVATIONS = {"swish": "silu", "gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh"}
_SPELLED = {"gelu_python": "gelu", "gelu_accurate": "gelu_pytorch_tanh"}
# The library derives the kinds of layers from these once, and reads the kinds.
_INTO_LAYER_TYPES = ("max_window_layers", "sliding_window_pattern", "_sliding_window_pattern")
_FACTORS = re.compile(r".*(factor|multiplier|scale|scaling)$")
_WINDOWED = {"sliding_attention", "local", "local_attention"}


def effect_of(field: str) -> Effect | None:
    """What another value of a field does; None where it does nothing.

    Args:
        field: the name, with dots into nested objects.

    Example:
        >>> [effect_of(name) for name in ("initializer_range", "rms_norm_eps")]
        [None, <Effect.CHANGES: 'changes the function'>]
        >>> effect_of("colour")
        <Effect.MAY: 'may change the function'>
    """
    name = field.partition(".")[0]
    if name in _WEIGHTS_DECIDE:
        return Effect.MAY
    if _NOTHING.fullmatch(name):
        return None
    return Effect.CHANGES if _CHANGES.fullmatch(field) else Effect.MAY


def effective_fields(config: Any) -> dict[str, Any]:
    """The fields of a configuration of transformers, defaults filled in, each function named one way.

    Args:
        config: as the library makes it, which fills in defaults.

    Returns:
        The values by name; nested objects are taken apart, ``rope_parameters.rope_theta``.
    """
    text = config.get_text_config()
    said = dict(text.to_dict())
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "model_type"):
        said.pop(name, None)
    if said.get("layer_types") is not None:
        for name in _INTO_LAYER_TYPES:
            said.pop(name, None)
    if "n_positions" in said:
        said.pop("n_ctx", None)
    heads = said.get("num_attention_heads")
    if isinstance(heads, int) and heads > 0:
        if said.get("num_key_value_heads") is None:
            said["num_key_value_heads"] = heads
        if said.get("head_dim") is None and isinstance(said.get("hidden_size"), int):
            said["head_dim"] = said["hidden_size"] // heads
    _without_idle_window(said)
    rope = said.get("rope_parameters")
    if isinstance(rope, Mapping):
        kinds = (rope, *(one for one in rope.values() if isinstance(one, Mapping)))
        if any("rope_type" in one for one in kinds):
            said["rope_parameters"] = _without(rope, "type")
    return {name: _named(name, value) for name, value in _flat(said) if effect_of(name)}


def is_neutral(field: str, value: object) -> bool:
    """Whether a value of a field says no more than its absence."""
    if value is None or value is False or value in ("", [], (), {}):
        return True
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value == (1 if _FACTORS.fullmatch(field) else 0)
    return False


def _without_idle_window(said: dict[str, Any]) -> None:
    """Leaves out a window that no layer has, or that is as long as the context."""
    window, context = said.get("sliding_window"), said.get("max_position_embeddings")
    kinds = said.get("layer_types")
    idle = isinstance(kinds, (list, tuple)) and not _WINDOWED.intersection(map(str, kinds))
    long = isinstance(window, int) and isinstance(context, int) and window >= context
    if idle or long or said.get("use_sliding_window") is False:
        said["sliding_window"] = None
        said.pop("use_sliding_window", None)


def _without(rope: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Parameters of rotary embeddings without an old name of their kind."""
    return {
        key: _without(value, name) if isinstance(value, Mapping) else value
        for key, value in rope.items()
        if key != name
    }


def _flat(said: Mapping[str, Any], before: str = "", depth: int = 3) -> list[tuple[str, Any]]:
    """The entries of nested objects, by their names with dots."""
    found: list[tuple[str, Any]] = []
    for key, value in said.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and depth > 0:
            found += _flat(value, f"{name}.", depth - 1)
        else:
            found.append((name, value))
    return found


def _named(field: str, value: object) -> object:
    """A value in one spelling: activations by one name, tuples as lists."""
    if isinstance(value, str) and "act" in field:
        return _ACTIVATIONS.get(value, _SPELLED.get(value, value))
    return list(value) if isinstance(value, tuple) else value
