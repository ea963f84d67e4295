"""The parts of a model that hold weights: each module of each block, fused ones in halves.

A child and its parent have the same parts, whatever either is quantized to. A part is what a weight
error is measured of, and what `blame` takes from one model into the other. What no token reaches, such
as a tower for images, is no part.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.core.layers import HEAD, layer_id
from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.formats.registry import packed
from pytest_injectivity.quantization.stored_tensors import Read
from pytest_injectivity.reference.outside import Place, places, roots

Role = Literal["q", "k", "v", "o", "gate", "up", "down", "attention norm", "mlp norm", ""]
"""What a part of a block does; empty where its name does not tell."""

_LETTERS: tuple[tuple[Role, str], ...] = (
    ("q", r"q_proj|query|wq|q_lin"),
    ("k", r"k_proj|key|wk|k_lin"),
    ("v", r"v_proj|value|wv|v_lin"),
    ("gate", r"gate_proj|w1|linear_gate"),
    ("up", r"up_proj|c_fc|fc1|fc_in|dense_h_to_4h|w3|linear_1"),
    ("down", r"down_proj|fc2|fc_out|dense_4h_to_h|w2|linear_2"),
    ("o", r"o_proj|out_proj|wo|dense"),
    (
        "attention norm",
        r"input_layernorm|ln_1|norm_1|(self_attn_layer_|attention_(layer)?|operator_)norm|ln_attn",
    ),
    (
        "mlp norm",
        r"(pre_feedforward|pre_ff|feedforward)_layernorm|ln_2|norm_2|(ffn|final_layer)_norm|ln_mlp",
    ),
)
_FUSED = re.compile(r"(?:.*\.)?(?:qkv_proj|c_attn|query_key_value|Wqkv|qkv|gate_up_proj)")
_INTERLEAVED = "query_key_value"


@dataclass(frozen=True, eq=False)
class Part:
    """A module that holds weights, or some outputs of a fused one.

    Attributes:
        site: ``layer00`` for the embeddings and what follows them, ``layer01`` for the first block,
            ``norm`` for the final norm and whatever else stands behind the blocks, ``head``.
        module: its path in the model.
        name: its path in the site, such as ``self_attn.q_proj`` or ``attn.c_attn[q]``.
        role: what it does.
        outputs: of a fused module, the outputs that are this part's; None: all.
    """

    site: str
    module: str
    name: str
    role: Role = ""
    outputs: Int64[Tensor, " outputs"] | None = None

    def of(self, decoder: Decoder) -> nn.Module:
        """The module in a model."""
        return decoder.model.get_submodule(self.module)

    def tensors(self, decoder: Decoder) -> Iterator[tuple[str, Float[Tensor, "..."]]]:
        """Its weights by name, as the numbers they stand for, outputs in the first dimension.

        They are where the model's states are, whichever device has the part.

        Args:
            decoder: a model that has this part.
        """
        for name, tensor in _tensors(self.of(decoder), self._stored(decoder)):
            chosen = self.outputs
            some = tensor if chosen is None else tensor[chosen.to(tensor.device)]
            yield name, some.to(decoder.device)

    def _stored(self, decoder: Decoder) -> Read | None:
        streamed = decoder.streamed
        return (
            None if streamed is None else lambda name: streamed.disk.tensor(f"{self.module}.{name}")
        )


def parts_of(decoder: Decoder) -> tuple[Part, ...]:
    """Every part of a model, in the order in which a token meets them.

    A head that shares the embeddings' matrix is a part of its own without weights of its own.

    Args:
        decoder: the model.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> [part.name for part in parts_of(tiny_decoder("gpt2", layers=1)) if part.site == "layer01"]
        ['ln_1', 'attn.c_attn[q]', 'attn.c_attn[k]', 'attn.c_attn[v]', 'attn.c_proj', 'ln_2', \
'mlp.c_fc', 'mlp.c_proj']
    """
    return tuple(_parts(decoder))


def left_out(decoder: Decoder) -> tuple[str, ...]:
    """What no token reaches: towers that loading took off, and modules that no part stands for.

    Args:
        decoder: the model.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> left_out(tiny_decoder("gpt2"))
        ()
    """
    found = _outside(decoder)
    unread = {path for path, place in found.items() if place == "nowhere"}
    names = [name for name, _ in decoder.model.named_parameters()]
    apart = [name for name in names if name.rpartition(".")[0] in unread]
    return (*decoder.left_out, *roots(apart, set(names).difference(apart)))


def unlike_part(child: Decoder, parent: Decoder) -> str:
    """Says which part of a parent a child lacks, or has in another shape; empty where it has all.

    A bias that only one of them has is none: it is compared with zeros (`weight_errors`), which is what
    some formats write. Rows of the embeddings and the head that only one has are none either: whoever
    compares two models knows that no token has them.

    Args:
        child: the model.
        parent: the model it was made from.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> unlike_part(tiny_decoder("llama"), tiny_decoder("llama"))
        ''
        >>> unlike_part(tiny_decoder("llama"), tiny_decoder("qwen3"))
        'layer01 has no self_attn.q_norm'
    """
    for part in parts_of(parent):
        try:
            own = dict(_shapes(part.of(child)))
        except AttributeError:  # of torch, for a path that is not there
            return f"{part.site} has no {part.name}"
        rows = part.site == HEAD or part.of(parent) is parent.parts.embeddings
        for name, shape in _shapes(part.of(parent)):
            if rows and name in own and own[name][1:] == shape[1:]:
                continue
            if own.get(name) != shape and (name in own or name != "bias"):
                said = own.get(name, "none")
                return f"{part.site}, {part.name}.{name} is {said}, of the parent {shape}"
    return ""


def _shapes(module: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes of a module's own weights, outputs first; no packed weight is decoded."""
    found = packed(module)
    if found is not None:
        yield "weight", (found.outputs, found.inputs)
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            yield "bias", tuple(bias.shape)
        return
    for name, parameter in module.named_parameters(recurse=False):
        turned = isinstance(module, Conv1D) and name == "weight"
        yield name, tuple(parameter.T.shape if turned else parameter.shape)


def _parts(decoder: Decoder) -> Iterator[Part]:
    model: Any = decoder.model
    paths = {id(module): path for path, module in model.named_modules()}
    blocks = [paths[id(block)] for block in decoder.parts.blocks]
    head = model.get_output_embeddings()
    found = _outside(decoder)
    for path, place in found.items():
        if place == "before":
            yield Part(layer_id(0), path, path.rpartition(".")[2])
    for at, block in enumerate(decoder.parts.blocks, 1):
        for path, module in block.named_modules():
            if _holds_weights(module):
                yield from _of_block(
                    decoder, layer_id(at), f"{blocks[at - 1]}.{path}", path, module
                )
    for path, place in found.items():
        if place == "after":
            yield Part("norm", path, path.rpartition(".")[2])
    if head is not None:
        yield Part(HEAD, paths[id(head)], paths[id(head)].rpartition(".")[2])


def _outside(decoder: Decoder) -> dict[str, Place]:
    """The modules outside the blocks that hold weights, but the head, and where they are run."""
    model: Any = decoder.model
    head = model.get_output_embeddings()
    blocks = {id(one) for block in decoder.parts.blocks for one in block.modules()}
    paths = [
        path
        for path, module in model.named_modules()
        if module is not head and id(module) not in blocks and _holds_weights(module)
    ]
    return places(decoder, paths)


def _holds_weights(module: nn.Module) -> bool:
    return packed(module) is not None or any(True for _ in module.parameters(recurse=False))


def _of_block(
    decoder: Decoder, site: str, path: str, name: str, module: nn.Module
) -> Iterator[Part]:
    halves = _halves(decoder, name, module) if _FUSED.fullmatch(name) else None
    if halves is None:
        yield Part(site, path, name, _role(decoder, name))
        return
    for role, outputs in halves:
        yield Part(site, path, f"{name}[{role}]", role, outputs)


def _role(decoder: Decoder, name: str) -> Role:
    last = name.rpartition(".")[2]
    if last == "c_proj":
        return "o" if "attn" in name else "down"
    if last == "post_attention_layernorm":
        block = decoder.parts.blocks[0]
        # Of a block that has another norm there, or none before attention, it is attention's own.
        behind = hasattr(block, "pre_feedforward_layernorm") or not hasattr(
            block, "input_layernorm"
        )
        return "" if behind else "mlp norm"
    return next((role for role, names in _LETTERS if re.fullmatch(names, last)), "")


def _halves(
    decoder: Decoder, name: str, module: nn.Module
) -> list[tuple[Role, Int64[Tensor, " outputs"]]] | None:
    """The outputs of each half of a fused module; None where its layout is another one."""
    if decoder.family.name == "codegen":  # four chunks of queries, values and keys
        return None
    outputs = _outputs(module)
    every = torch.arange(outputs)
    if name.endswith("gate_up_proj"):
        gate, up = every.chunk(2)
        return [("gate", gate), ("up", up)]
    config: Any = decoder.model.config.get_text_config()
    heads = int(config.num_attention_heads)
    shared = 1 if getattr(config, "multi_query", False) else heads
    groups = int(getattr(config, "num_key_value_heads", None) or shared)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    if outputs != (heads + 2 * groups) * width:
        return None
    if name.endswith(_INTERLEAVED) and groups > 1:
        rows = every.view(groups, heads // groups + 2, width)
        sides = (rows[:, :-2], rows[:, -2], rows[:, -1])
        return list(zip(("q", "k", "v"), (one.flatten() for one in sides), strict=True))
    first, second = heads * width, (heads + groups) * width
    return [("q", every[:first]), ("k", every[first:second]), ("v", every[second:])]


def _outputs(module: nn.Module) -> int:
    if (found := packed(module)) is not None:
        return found.outputs
    weight: Any = module.weight
    return int(weight.shape[1] if isinstance(module, Conv1D) else weight.shape[0])


def _tensors(module: Any, stored: Read | None) -> Iterator[tuple[str, Tensor]]:
    """A module's own weights, read from disk where they are there."""
    found = packed(module)
    if found is not None:
        yield "weight", found.dense()
        # Some packed layers hold their bias as a buffer.
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            yield "bias", bias.detach()
        return
    for name, parameter in module.named_parameters(recurse=False):
        turned = isinstance(module, Conv1D) and name == "weight"
        held = stored(name) if stored is not None and parameter.is_meta else parameter.detach()
        yield name, held.T if turned else held
