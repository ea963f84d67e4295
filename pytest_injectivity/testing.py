"""Small decoders with known geometry, for this package's tests and its users'.

Each is a real transformers class with a random or planted set of weights, small enough that a test
takes milliseconds, and none needs a download::

    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=7)
    # prompts that differ only by 3 against 7 now collide at every layer

Each docstring says what is known of the decoder's states.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.quantization.group_rounding import rounded_in_groups

# Attention heads, heads of keys and values where they are shared, and the sliding window (tokens)
# of the families that have one: short, so that even small prompts are longer than the window.
HEADS = 4
KEY_VALUE_HEADS = 2
SLIDING_WINDOW = 8

# These carry no annotations.
_from_config: Any = AutoModelForCausalLM.from_config
_bytes_to_unicode: Any = bytes_to_unicode
_wrapped: Any = PreTrainedTokenizerFast

_BOS = "<bos>"
_Settings = Mapping[str, Any]


def tiny_decoder(
    family: str = "gpt2",
    *,
    seed: int = 0,
    layers: int = 2,
    hidden: int = 16,
    vocab: int = 64,
    context: int = 64,
    dtype: torch.dtype = torch.float32,
    std: float = 0.2,
    tokenizer: Any = None,
    **settings: Any,
) -> Decoder:
    """A random decoder of a family; the same seed gives the same weights.

    Matrices are drawn from N(0, std^2), at the default far enough from zero that states of
    different prompts are well apart; biases and norm gains are moved by a tenth of that, so that
    no parameter tensor is constant. The decoder is generic: no two prompts collide at layers 1 to L.

    Args:
        family: a family of the table, such as ``"gpt2"``, ``"llama"``, ``"gemma3_text"``.
        seed: the seed of the weights; torch's global generator is not used.
        layers: the number of blocks.
        hidden: the width, a multiple of 8 (4 heads of even width).
        vocab: the number of tokens.
        context: the longest prompt, in tokens (mamba has no limit).
        dtype: the dtype of the weights.
        std: the standard deviation of the matrices.
        tokenizer: e.g. :func:`byte_tokenizer`, with ``vocab`` at least its size.
        settings: further values for the configuration, by their names in transformers.

    Raises:
        OptionError: the family is not in the table.
    """
    if family not in _SETTINGS:
        raise OptionError(
            f"family {family!r} is not in the table: give one of {', '.join(_SETTINGS)}"
        )
    # The library's ids of special tokens lie beyond a small vocabulary.
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    chosen = {**special, **_SETTINGS[family](layers, hidden, context), **settings}
    config = AutoConfig.for_model(family, vocab_size=vocab, **chosen)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = _from_config(config, dtype=dtype)
        _draw(model, std, torch.Generator().manual_seed(seed))
    return Decoder(f"tiny:{family}", model, tokenizer)


def additive_decoder(
    tokens: Float[Tensor, "vocab hidden"],
    positions: Float[Tensor, "context hidden"],
    *,
    layers: int = 2,
) -> Decoder:
    """A GPT-2 whose blocks add nothing to the residual stream, so that its states are known exactly.

    At every layer 0 to L the state at position ``t`` of a prompt is ``tokens[ids[t]] +
    positions[t]``, whatever the other tokens are; at ``"norm"`` that row minus its mean,
    divided by the root of its variance plus 1e-5. So every distance, collision, margin and
    co-Lipschitz value of a prompt set follows from the two tables.

    Args:
        tokens: the embedding row of each token; its dtype is the decoder's.
        positions: the row added at each position.
        layers: the number of blocks.
    """
    decoder = tiny_decoder(
        "gpt2",
        layers=layers,
        hidden=tokens.shape[1],
        vocab=len(tokens),
        context=len(positions),
        dtype=tokens.dtype,
        n_head=1,
    )
    base: Any = decoder.parts.base
    base.wte.weight.copy_(tokens)
    base.wpe.weight.copy_(positions)
    for block in base.h:
        for projection in (block.attn.c_proj, block.mlp.c_proj):
            projection.weight.zero_()
            projection.bias.zero_()
    base.ln_f.weight.fill_(1.0)
    base.ln_f.bias.zero_()
    return decoder


def plant_equal_embeddings(decoder: Decoder, kept: int, copied: int) -> Decoder:
    """Gives token ``copied`` the embedding row of token ``kept``; returns the decoder given.

    Prompts equal but for these two tokens then have equal states at every layer, 0 to L and
    ``"norm"``, at every position; in a decoder that was generic there are no other collisions.
    """
    weight: Any = decoder.parts.embeddings.weight
    weight[copied] = weight[kept]
    return decoder


def plant_nan(decoder: Decoder, layer: int) -> Decoder:
    """Makes every state NaN from a layer on (1 to L); shallower layers stay as they are.

    Raises:
        OptionError: there is no such block.
    """
    if not 1 <= layer <= decoder.n_layers:
        raise OptionError(f"no block writes {layer_id(layer)}: give 1 to {decoder.n_layers}")
    for parameter in decoder.parts.blocks[layer - 1].parameters():
        parameter.fill_(torch.nan)
    return decoder


def untie_head(decoder: Decoder) -> Decoder:
    """Gives the head a weight of its own, equal to the embedding's it was tied to; returns the decoder.

    One of them can then be changed alone; a checkpoint saved of it holds both.
    """
    model: Any = decoder.model
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    return decoder


def round_weights(
    decoder: Decoder, bits: int, *, group: int = 64, blocks: Sequence[int] | None = None
) -> Decoder:
    """Rounds the matrices of blocks to the nearest of ``2^bits - 1`` values; returns the decoder given.

    Groups of inputs share a scale, as in quantized checkpoints; values stay floating-point numbers.

    Args:
        decoder: changed in place.
        bits: at least 2.
        group: inputs that share a scale; all of them where the width is no multiple of it.
        blocks: the blocks changed, 1 to L; None: all.

    Raises:
        OptionError: bits is less than 2, or there is no such block.
    """
    for weight, inputs in _matrices(decoder, blocks):
        rows = rounded_in_groups(weight.movedim(inputs, 1), bits, group)
        weight.copy_(rows.movedim(1, inputs))
    return decoder


def double_block(decoder: Decoder, layer: int) -> Decoder:
    """Doubles the matrices of a block, as a wrong scale does; returns the decoder given.

    Raises:
        OptionError: there is no such block.
    """
    for weight, _ in _matrices(decoder, [layer]):
        weight.mul_(2.0)
    return decoder


def _matrices(decoder: Decoder, blocks: Sequence[int] | None) -> Iterator[tuple[Tensor, int]]:
    """The weight of each linear layer of some blocks, and which of its dimensions its inputs are."""
    for layer in range(1, decoder.n_layers + 1) if blocks is None else blocks:
        if not 1 <= layer <= decoder.n_layers:
            raise OptionError(f"no block writes {layer_id(layer)}: give 1 to {decoder.n_layers}")
        for module in decoder.parts.blocks[layer - 1].modules():
            if isinstance(module, (nn.Linear, Conv1D)):
                weight: Any = module.weight
                yield weight, 0 if isinstance(module, Conv1D) else 1


def byte_tokenizer(*, bos: bool = False) -> PreTrainedTokenizerFast:
    """A lossless tokenizer of 256 tokens, whose ids are the bytes of the UTF-8 text.

    Args:
        bos: a 257th token, id 256, put before every text unless special tokens are left out.
    """
    tokenizer = Tokenizer(BPE({char: byte for byte, char in _bytes_to_unicode().items()}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"bos_token": _BOS} if bos else {}
    if bos:
        tokenizer.add_special_tokens([_BOS])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{_BOS} $A", special_tokens=[(_BOS, 256)]
        )
    wrapped: PreTrainedTokenizerFast = _wrapped(tokenizer_object=tokenizer, **special)
    return wrapped


def save_checkpoint(decoder: Decoder, folder: Path, tokenizer: Any = None) -> Path:
    """Writes a folder that ``load_decoder`` reads: config.json, model.safetensors, tokenizer.

    Args:
        decoder: the decoder written.
        folder: made if it does not exist.
        tokenizer: written as well; by default the decoder's own, if it has one.
    """
    tokenizer = decoder.tokenizer if tokenizer is None else tokenizer
    with quiet():
        decoder.model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    return folder


def _draw(model: Any, std: float, generator: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * std
            # Mamba's A_log is a matrix of decay rates; states would overflow if it were drawn anew.
            keep = parameter.ndim < 2 or name.endswith("A_log")  # noqa: PLR2004
            parameter.copy_(parameter + 0.1 * drawn if keep else drawn)


def _alternating(layers: int) -> list[str]:
    return ["full_attention" if i % 2 else "sliding_attention" for i in range(layers)]


def _gpt2(layers: int, hidden: int, context: int) -> _Settings:
    return {"n_layer": layers, "n_embd": hidden, "n_positions": context, "n_head": HEADS}


def _gpt_neo(layers: int, hidden: int, context: int) -> _Settings:
    kinds = ["local" if i % 2 else "global" for i in range(layers)]
    return {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_heads": HEADS,
        "max_position_embeddings": context,
        "window_size": SLIDING_WINDOW,
        "attention_layers": kinds,
        "attention_types": [[[kind], 1] for kind in kinds],
    }


def _common(layers: int, hidden: int, context: int) -> _Settings:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": HEADS,
        "max_position_embeddings": context,
        "intermediate_size": 2 * hidden,
    }


def _shared_heads(layers: int, hidden: int, context: int) -> _Settings:
    common = _common(layers, hidden, context)
    return {**common, "num_key_value_heads": KEY_VALUE_HEADS, "head_dim": hidden // HEADS}


def _gpt_neox(layers: int, hidden: int, context: int) -> _Settings:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    return {**_common(layers, hidden, context), "rope_parameters": rope}


def _opt(layers: int, hidden: int, context: int) -> _Settings:
    return {
        **_common(layers, hidden, context),
        "ffn_dim": 2 * hidden,
        "word_embed_proj_dim": hidden,
    }


def _sliding(layers: int, hidden: int, context: int) -> _Settings:
    return {**_shared_heads(layers, hidden, context), "sliding_window": SLIDING_WINDOW}


def _gemma(layers: int, hidden: int, context: int) -> _Settings:
    kinds = _alternating(layers)
    scalar = hidden // HEADS
    sliding = _sliding(layers, hidden, context)
    return {**sliding, "layer_types": kinds, "query_pre_attn_scalar": scalar}


def _mamba(layers: int, hidden: int, context: int) -> _Settings:  # noqa: ARG001 - has no context
    return {"num_hidden_layers": layers, "hidden_size": hidden, "state_size": 4}


_SETTINGS: dict[str, Callable[[int, int, int], _Settings]] = {
    "gpt2": _gpt2,
    "gpt_neo": _gpt_neo,
    "gpt_neox": _gpt_neox,
    "opt": _opt,
    "llama": _shared_heads,
    "mistral": _sliding,
    "qwen2": _shared_heads,
    "qwen3": _shared_heads,
    "gemma2": _gemma,
    "gemma3_text": _gemma,
    "phi3": _sliding,
    "falcon": _common,
    "mamba": _mamba,
}
