"""Entries of a ``.gguf`` file's metadata that the library drops: applied, neutral, or refused.

Each name has a rule. A rule returns the fields of the configuration that the entry sets, none where the
entry says what the configuration says anyway, or a reason why it can be neither. A name without a rule
is refused, because it may change what the model computes.
"""

from collections.abc import Callable, Mapping
from typing import Any

from transformers import PreTrainedConfig

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.gguf_header import GgufHeader, Value
from pytest_injectivity.quantization.library_calls import refusing

Fields = dict[str, Any]
Rule = Callable[[Any, Value], Fields | str]

_NEAR = 1e-4
_ROTARY = ("rope.scaling.", "rope.scale_linear")  # `rotary` applies or refuses them


def apply_metadata(
    config: PreTrainedConfig, header: GgufHeader, carried: set[str]
) -> PreTrainedConfig:
    """The configuration with what the file says beside what the library carries over.

    Args:
        config: as the library reads it.
        header: the file's.
        carried: the names of the entries that the library carries over.

    Raises:
        ModelError: an entry can neither be applied nor be left out; the message names it.
    """
    fields: Fields = {}
    # The width of a head first: other entries are compared with it.
    order = sorted(header.described.items(), key=lambda entry: entry[0] not in _WIDTHS)
    for name, value in order:
        if name.startswith(_ROTARY) or (name in carried and name not in _WIDTHS):
            continue
        found = RULES.get(name, _unknown)(_Seen(config, fields), value)
        if isinstance(found, str):
            raise ModelError(
                f"{header.path}: {header.architecture}.{name} is {value!r:.60}, and {found}: a file"
                " whose metadata the configuration of transformers can say is accepted"
            )
        fields |= found
    return changed(config, fields)


def changed(config: PreTrainedConfig, fields: Fields) -> PreTrainedConfig:
    """A configuration built anew with other fields, so that what is derived from them is right."""
    if not fields:
        return config
    said = config.to_dict()
    # The kinds of the layers are derived from the window.
    if "sliding_window" in fields:
        said.pop("layer_types", None)
    with refusing(f"the metadata say {', '.join(fields)} as no configuration can"):
        return type(config).from_dict({**said, **fields})


class _Seen:
    """A configuration with fields that are to be set, read as one."""

    def __init__(self, config: PreTrainedConfig, fields: Fields) -> None:
        self._config, self._fields = config.get_text_config(), fields

    def __getattr__(self, name: str) -> Any:
        return self._fields[name] if name in self._fields else getattr(self._config, name)

    @property
    def width(self) -> int:
        """Of a head."""
        given = getattr(self, "head_dim", None)
        return int(given or self.hidden_size // self.num_attention_heads)


def _unknown(_config: Any, _value: Value) -> str:
    return "nothing is known of it"


def _sets(*names: str) -> Rule:
    """Sets the first of these fields that the configuration has."""

    def rule(config: Any, value: Value) -> Fields | str:
        for name in names:
            if hasattr(config, name):
                return {} if getattr(config, name) == value else {name: value}
        return f"the configuration has no {' or '.join(names)}"

    return rule


def _neutral(*values: Value) -> Rule:
    """Accepts these values, which change nothing."""

    def rule(_config: Any, value: Value) -> Fields | str:
        return {} if value in values else "only its neutral value is read"

    return rule


def _or_neutral(neutral: Value, *names: str) -> Rule:
    """Sets a field, where the value is no neutral one."""

    def rule(config: Any, value: Value) -> Fields | str:
        return {} if value == neutral else _sets(*names)(config, value)

    return rule


def _seen_in_shapes(_config: Any, _value: Value) -> Fields:
    """Sizes that the shapes of tensors prove."""
    return {}


def _context(config: Any, value: Value) -> Fields:
    """The longest prompt; families without positions have no field for it."""
    found = _sets("n_positions", "max_position_embeddings", "seq_length")(config, value)
    return {} if isinstance(found, str) else found


def _width(config: Any, value: Value) -> Fields | str:
    if value == config.width:
        return {}
    return {"head_dim": value} if hasattr(config, "head_dim") else "heads are of another width"


def _same_width(config: Any, value: Value) -> Fields | str:
    return {} if value == config.width else f"heads are {config.width} wide"


def _pattern(config: Any, value: Value) -> Fields | str:
    """Which layers have a window: every n-th has none, or a truth value for each layer."""
    layers = range(config.num_hidden_layers)
    if isinstance(value, tuple) and len(value) == len(layers):
        windows = [bool(one) for one in value]
    elif isinstance(value, int) and value > 0:
        windows = [bool((layer + 1) % value) for layer in layers]
    else:
        return "there is one truth value for each layer, or one number"
    kinds = ["sliding_attention" if window else "full_attention" for window in windows]
    if getattr(config, "layer_types", None) == kinds:
        return {}
    return "the configuration has windows in other layers"


def rotated_numbers(config: Any) -> int | None:
    """The numbers of a head that are rotated; None where kinds of attention differ in it."""
    rope = getattr(config, "rope_parameters", None) or {}
    if any(isinstance(one, Mapping) for one in rope.values()):
        return None
    return int(_Seen(config, {}).width * (rope.get("partial_rotary_factor") or 1.0))


def _rotated(config: Any, value: Value) -> Fields | str:
    """The numbers of a head that are rotated."""
    rope = getattr(config, "rope_parameters", None) or {}
    parts = [rope, *(one for one in rope.values() if isinstance(one, Mapping))]
    shares = [one.get("partial_rotary_factor") for one in parts]
    share = next((one for one in shares if one is not None), None) or 1.0
    if not isinstance(value, int) or value == int(config.width * share):
        return {}
    if not rope or len(parts) > 1 or not _rotates_a_part(config):
        return f"the configuration rotates {int(config.width * share)} numbers of a head"
    return {"rope_parameters": {**rope, "partial_rotary_factor": value / config.width}}


def _rotates_a_part(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or {}
    return "partial_rotary_factor" in rope or hasattr(config, "partial_rotary_factor")


def _base(config: Any, value: Value) -> Fields | str:
    rope = getattr(config, "rope_parameters", None)
    if rope is None or "full_attention" in rope:
        return "the configuration has no one base of rotary frequencies"
    return (
        {}
        if rope.get("rope_theta") == value
        else {"rope_parameters": {**rope, "rope_theta": value}}
    )


def _base_of_windows(config: Any, value: Value) -> Fields | str:
    rope = getattr(config, "rope_parameters", None) or {}
    if (local := rope.get("sliding_attention")) is None:
        return "the configuration has no base of rotary frequencies for windows"
    return {"rope_parameters": {**rope, "sliding_attention": {**local, "rope_theta": value}}}


def _window(config: Any, value: Value) -> Fields | str:
    context = getattr(config, "max_position_embeddings", None)
    if not isinstance(value, int) or value <= 0 or (context is not None and value >= context):
        return {}
    if not hasattr(config, "sliding_window") or hasattr(config, "use_sliding_window"):
        return "the configuration has no window for all of its layers"
    return {} if config.sliding_window == value else {"sliding_window": value}


def _scale(config: Any, value: Value) -> Fields | str:
    """What products of queries and keys are multiplied by."""
    if not isinstance(value, float) or value == 0:
        return {}
    usual = float(getattr(config, "query_pre_attn_scalar", None) or config.width) ** -0.5
    if abs(value - usual) <= _NEAR * usual:
        return {}
    whole = abs(value**-2 - round(value**-2)) <= _NEAR * value**-2
    if hasattr(config, "query_pre_attn_scalar") and whole:
        return {"query_pre_attn_scalar": round(value**-2)}
    if hasattr(config, "attention_multiplier"):
        return {"attention_multiplier": value}
    return f"the configuration multiplies by {usual:g}"


_WIDTHS = ("attention.key_length", "attention.value_length")
_EPSILON = _sets("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps", "rms_norm_eps")

RULES: dict[str, Rule] = {
    "attention.key_length": _width,
    "attention.value_length": _same_width,
    "attention.key_length_swa": _same_width,
    "attention.value_length_swa": _same_width,
    "rope.dimension_count": _rotated,
    "rope.dimension_count_swa": _rotated,
    "rope.freq_base": _base,
    "rope.freq_base_swa": _base_of_windows,
    "attn_logit_softcapping": _or_neutral(0.0, "attn_logit_softcapping"),
    "final_logit_softcapping": _or_neutral(0.0, "final_logit_softcapping"),
    "router_logit_softcapping": _neutral(0.0),
    "attention.sliding_window": _window,
    "attention.sliding_window_pattern": _pattern,
    "attention.scale": _scale,
    "attention.layer_norm_epsilon": _EPSILON,
    "attention.layer_norm_rms_epsilon": _EPSILON,
    "attention.causal": _neutral(True),  # noqa: FBT003 - the file's own value
    "attention.clamp_kqv": _neutral(0.0),
    "attention.max_alibi_bias": _neutral(0.0, 8.0),
    "pooling_type": _neutral(0),
    "logit_scale": _or_neutral(1.0, "logit_scale"),
    "embedding_scale": _or_neutral(1.0, "embedding_multiplier"),
    "residual_scale": _or_neutral(1.0, "residual_multiplier"),
    "use_parallel_residual": _sets("use_parallel_residual", "parallel_attn"),
    "expert_count": _or_neutral(0, "num_local_experts", "num_experts"),
    "expert_used_count": _or_neutral(0, "num_experts_per_tok"),
    "expert_feed_forward_length": _sets("moe_intermediate_size", "intermediate_size"),
    "expert_shared_feed_forward_length": _sets("shared_expert_intermediate_size"),
    "expert_shared_count": _neutral(0, 1),
    "expert_weights_scale": _neutral(0.0, 1.0),
    "expert_weights_norm": _sets("norm_topk_prob"),
    "expert_gating_func": _neutral(0, 1),
    "leading_dense_block_count": _neutral(0),
    "nextn_predict_layers": _neutral(0),
    "context_length": _context,
    "vocab_size": _sets("vocab_size"),
    "block_count": _seen_in_shapes,
    "embedding_length": _seen_in_shapes,
    "feed_forward_length": _seen_in_shapes,
    "attention.head_count": _or_neutral(0, "num_attention_heads", "n_head"),
    "attention.head_count_kv": _or_neutral(0, "num_key_value_heads", "num_kv_heads"),
    "ssm.dt_b_c_rms": _neutral(False),  # noqa: FBT003 - the file's own value
    # The one order of rows that the library's processors undo.
    "tensor_data_layout": _neutral("", "Meta AI original pth"),
}
"""By the entry's name, without the architecture's before it."""
