"""Where each family of decoders keeps its embeddings, blocks and final norm.

One table, and a rule for a family that is not in it: the module that holds the input embeddings and
a ``ModuleList`` as long as the configuration's number of layers. Nothing else in this package asks
what kind of model it is given.

A causal language model reads, for every family here::

    embeddings -> block 1 -> ... -> block L -> (final norm) -> language-model head
               layer 0     layer 1        layer L         "norm"
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from torch import nn
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.prefix import cache_name
from pytest_injectivity.models.towers import auto_class

PrefixKind = Literal["keys-values", "recompute"]

# Rotary embeddings that are rescaled by the length of the whole row once it passes a limit: past
# it a state depends on what FOLLOWS it (padding, other rows), so such rows are not accepted.
_LENGTH_DEPENDENT_ROPE = ("longrope", "dynamic")
# A configuration's list of the blocks that attend to an image alone.
_UNRUN = "cross_attention_layers"
# A method of embeddings that number tokens by what the tokens are.
_COUNTED = "create_position_ids_from_input_ids"


@dataclass(frozen=True)
class Family:
    """Where a kind of model keeps its parts, as attribute names.

    Attributes:
        name: the ``model_type`` of the configuration.
        base: dotted path, inside the causal language model, of the module that owns what follows.
        embeddings: the token embeddings, inside ``base``.
        blocks: the ``ModuleList`` of blocks, inside ``base``.
        norm: the final norm, inside ``base``; ``None`` where the family has none.
        prefix: how a prefix is continued: from the ``"keys-values"`` its blocks have cached, or by
            ``"recompute"``, running the prefix again, where the library's cached state cannot be
            continued by several tokens or several rows (state-space and recurrent blocks).
        masks: attention takes a mask of the caller's, that may hide any token from any other: it looks
            at the whole prefix (no sliding window, no recurrence) and takes positions by number. False
            where nobody has tried, as for a family found by the rule.
        known: in the table, rather than found by the rule.
    """

    name: str
    base: str
    embeddings: str
    blocks: str
    norm: str | None
    prefix: PrefixKind = "keys-values"
    masks: bool = False
    known: bool = True


def _like_llama(name: str) -> Family:
    return Family(name, "model", "embed_tokens", "layers", "norm", masks=True)


FAMILIES = (
    Family("gpt2", "transformer", "wte", "h", "ln_f", masks=True),
    # Masks its local attention itself, by the places in the row.
    Family("gpt_neo", "transformer", "wte", "h", "ln_f"),
    Family("gpt_neox", "gpt_neox", "embed_in", "layers", "final_layer_norm", masks=True),
    Family("opt", "model.decoder", "embed_tokens", "layers", "final_layer_norm", masks=True),
    _like_llama("llama"),
    _like_llama("mistral"),
    _like_llama("qwen2"),
    _like_llama("qwen3"),
    _like_llama("gemma2"),
    _like_llama("gemma3_text"),
    _like_llama("phi3"),
    Family("falcon", "transformer", "word_embeddings", "h", "ln_f", masks=True),
    # The library's selective scan starts from a zero state whenever it reads more than one
    # token, so a cached state cannot be continued by a sequence.
    Family("mamba", "backbone", "embeddings", "layers", "norm_f", prefix="recompute"),
)
"""A row a family of decoders; `tests/models/test_families.py` holds each against the library."""

_STREAMS = "keeps several residual streams side by side, where a state is one of them"
_DRAFTS = "drafts from the keys and values of another model, and reads no prompt alone"
_CYCLES = "runs its blocks several times in one pass, so that a block has no one output"
_EARLIER = (
    "reads the outputs of earlier blocks again, so that no block has all that the next one gets"
)
_IMAGE = "reads an image with every text"
_SEVERAL = "holds several language models: give the checkpoint of its thinker"
_CODES = "continues codes of sound, and reads no text alone"

REFUSED: dict[str, str] = {
    "blip-2": _IMAGE,
    "blt": "reads bytes in patches that another model chooses, so that a token has no state",
    "cpmant": "puts tokens of its own before every row",
    "deepseek_v4": _STREAMS,
    "gemma3n": _STREAMS,
    "gemma3n_text": _STREAMS,
    "gemma4_assistant": _DRAFTS,
    "gemma4_unified_assistant": _DRAFTS,
    "hrm_text": _CYCLES,
    "hy_v4": _STREAMS,
    "inkling2_text": _EARLIER,
    "idefics": _IMAGE,
    "inkling2": _EARLIER,
    "instructblip": _IMAGE,
    "instructblipvideo": _IMAGE,
    "kosmos-2": _IMAGE,
    "moshi": _CODES,
    "musicgen": _CODES,
    "musicgen_melody": _CODES,
    "pi0": "gives a robot's actions, and no next token",
    "qwen2_5_omni": _SEVERAL,
    "qwen3_omni_moe": _SEVERAL,
    "qwen4_exp": _STREAMS,
    "qwen4_exp_text": _STREAMS,
    "reformer": "compares tokens by random hashes, which are drawn again in every pass",
    "voxtral_realtime": "reads sound with every text",
    "xlm": "keeps its attentions and its feed-forward networks in lists of their own, without blocks",
    "xlnet": "is a permutation language model, whose attention is bidirectional",
}
"""By ``model_type``, why prompts of a family have no states, though transformers lists it."""

TABLE: dict[str, Family] = {family.name: family for family in FAMILIES}
"""The rows by ``model_type``."""


@dataclass(frozen=True)
class Parts:
    """The modules of one model, found through its family.

    Attributes:
        base: runs the embeddings, the blocks and the final norm; never the language-model head.
        embeddings: token ids to rows.
        blocks: the blocks in order.
        norm: the final norm, or ``None``.
    """

    base: Any
    embeddings: Any
    blocks: nn.ModuleList
    norm: nn.Module | None


def find_family(model: PreTrainedModel) -> Family:
    """The model's entry in the table, or one made by the rule.

    Raises:
        ModelError: the rule finds no blocks, or more than one candidate.
    """
    known = TABLE.get(model.config.get_text_config().model_type)
    return known if known is not None and _fits(known, model) else _by_rule(model)


def find_parts(model: PreTrainedModel, family: Family) -> Parts:
    """The modules that the family's names stand for in this model."""
    base = model.get_submodule(family.base)
    blocks = base.get_submodule(family.blocks)
    if not isinstance(blocks, nn.ModuleList):
        raise ModelError(
            f"{type(model).__name__}.{family.base}.{family.blocks} is a {type(blocks).__name__},"
            " where a list of blocks was expected"
        )
    # Blocks that only read an image are not run for text (Mllama).
    unrun = getattr(model.config.get_text_config(), _UNRUN, None) or ()
    if unrun:
        blocks = nn.ModuleList(block for at, block in enumerate(blocks) if at not in unrun)
    # OPT leaves the attribute at None in checkpoints whose blocks end in a norm of their own.
    norm = attrgetter(family.norm)(base) if family.norm else None
    return Parts(base, base.get_submodule(family.embeddings), blocks, norm)


def refuse_unless_decoder(config: PreTrainedConfig, source: str) -> None:
    """Refuses what is not a causal decoder, by name.

    Raises:
        ModelError: an encoder, an encoder-decoder, a bidirectional decoder, or no text model.
    """
    accepted = f"a causal decoder is needed, such as {', '.join(TABLE)}"
    kind = config.model_type
    if kind in REFUSED:
        raise ModelError(f"{source} ({kind}) {REFUSED[kind]}: {accepted}")
    if config.is_encoder_decoder:
        raise ModelError(f"{source} is an encoder-decoder model ({kind}): {accepted}")
    text = config.get_text_config()
    masked = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    if masked or auto_class(config) is None:
        what = "an encoder-only model" if masked else "not a causal language model"
        raise ModelError(f"{source} is {what} ({kind}): {accepted}")
    # "vision": among the tokens of an image alone.
    both = getattr(text, "use_bidirectional_attention", False) not in {None, False, "vision"}
    if both or not getattr(text, "is_causal", True):
        raise ModelError(f"{source} ({kind}) has bidirectional attention: {accepted}")


def context_length(model: PreTrainedModel) -> int | None:
    """The longest prompt, in tokens, whose states depend on that prompt alone; ``None``: no limit.

    The configuration's ``max_position_embeddings``, less the positions where no token stands; for
    rotary embeddings that are rescaled by the length of the row (``longrope``, ``dynamic``), and for
    attention that chooses among all tokens of a longer row, the length up to which they do not.
    """
    text = model.config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None)
    # Past it Doge's attention chooses among all tokens of a row, those that follow included.
    chosen = getattr(text, "keep_window_size", None)
    longest = longest if chosen is None else min(chosen, longest or chosen)
    rope: dict[str, Any] = getattr(text, "rope_parameters", None) or {}
    # Some families keep one set of parameters for each kind of attention.
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    for kind in kinds:
        if kind.get("rope_type") in _LENGTH_DEPENDENT_ROPE:
            original = getattr(text, "original_max_position_embeddings", None)
            longest = kind.get("original_max_position_embeddings") or original or longest
    return None if longest is None else int(longest) - _reserved_positions(model)


def count_blocks(config: PreTrainedConfig) -> int:
    """How many blocks token ids pass through, as far as a configuration tells."""
    return listed_blocks(config) - len(getattr(config.get_text_config(), _UNRUN, None) or ())


def listed_blocks(config: PreTrainedConfig) -> int:
    """How many blocks a text decoder holds; 0 where its configuration does not tell."""
    text = config.get_text_config()
    # A block of LongCat counts as two hidden layers, for it has two attentions.
    return int(getattr(text, "num_layers", None) or getattr(text, "num_hidden_layers", None) or 0)


def takes_masks(family: Family, model: PreTrainedModel) -> bool:
    """Whether this model's attention takes a mask of the caller's, as its family's may.

    A configuration may give a family a sliding window or distances from the row's places (alibi),
    or choose an attention that takes no mask; a mask of truth values suits PyTorch's own alone.
    """
    text = model.config.get_text_config()
    full = {type(layer) for layer in DynamicCache(config=model.config).layers} == {DynamicLayer}
    native = getattr(text, "_attn_implementation", None) == "sdpa"
    return family.masks and full and native and not getattr(text, "alibi", False)


def _fits(family: Family, model: PreTrainedModel) -> bool:
    """Whether the family's names stand in this model (wrapped models keep them elsewhere)."""
    try:
        return model.get_submodule(f"{family.base}.{family.embeddings}") is (
            model.get_input_embeddings()
        )
    except AttributeError:
        return False


def _by_rule(model: PreTrainedModel) -> Family:
    found = _candidates(model)
    name = model.config.get_text_config().model_type
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__} ({name}) is not in the table of families, and the rule finds"
            f" {len(found)} modules that hold both the input embeddings and as many blocks as the"
            f" configuration has layers, where one is needed; known families: {', '.join(TABLE)}"
        )
    base, embeddings, blocks = found[0]
    listed, held = TABLE.get(name), model.get_submodule(base)
    norm = listed.norm if listed and _has(held, listed.norm) else _norm_after(held, blocks)
    kind = _prefix_kind(model, held)
    return Family(name, base, embeddings, blocks, norm, kind, known=False)


def _has(base: nn.Module, path: str | None) -> bool:
    return path is not None and hasattr(base, path)


def _candidates(model: PreTrainedModel) -> list[tuple[str, str, str]]:
    """Where the rule could see a model's parts: the base, the embeddings and the blocks inside it."""
    size = listed_blocks(model.config)
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:  # the library's, of models made of several (Qwen2.5-Omni)
        return []
    lists = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == size > 0
    ]
    found = []
    for path in lists:
        base = path.rpartition(".")[0]
        # The nearest module around the blocks that can be run as a model; a tower holds no embeddings.
        while base and not isinstance(model.get_submodule(base), PreTrainedModel):
            base = base.rpartition(".")[0]
        inside = model.get_submodule(base).named_modules()
        held = next((name for name, child in inside if child is table), None)
        if base and held:
            found.append((base, held, path.removeprefix(f"{base}.")))
    # A list that the base itself keeps comes before lists deeper inside it.
    nearest = [one for one in found if "." not in one[2]]
    return nearest or found


def _norm_after(base: nn.Module, blocks: str) -> str | None:
    """The first norm after the blocks, in the module that holds them or in those around it."""
    owner, _, name = blocks.rpartition(".")
    children = list(base.get_submodule(owner).named_children())
    after = children[[child for child, _ in children].index(name) + 1 :]
    found = next((one for one, child in after if "norm" in type(child).__name__.lower()), None)
    if found is not None:
        return f"{owner}.{found}" if owner else found
    return _norm_after(base, owner) if owner else None


def _prefix_kind(model: PreTrainedModel, base: nn.Module) -> PrefixKind:
    """Keys and values only where every layer's cache is known to be continued without mutation.

    A base that takes no cache by its usual name has a state of its own (RWKV), which would be dropped;
    one that counts positions by tokens (RoBERTa) does not know how many of a prefix's tokens count.
    """
    layers = DynamicCache(config=model.config.get_text_config()).layers
    safe = {DynamicLayer, DynamicSlidingWindowLayer}
    cached = bool(layers) and {type(layer) for layer in layers} <= safe
    takes = cache_name(base) is not None
    counts = _reserved_positions(base) > 0
    return "keys-values" if cached and takes and not counts else "recompute"


def _reserved_positions(base: nn.Module) -> int:
    """Rows of the table of positions that no token of a prompt stands at.

    RoBERTa and its kin number the tokens that are not padding from the padding's id on.
    """
    for module in base.modules():
        if hasattr(module, _COUNTED):
            return int(module.padding_idx) + 1  # type: ignore[arg-type] # an attribute of theirs
    return 0
