"""Changes of weights that leave the function ([VS] quotient by G): orders, factors and a rotation.

Models are like GPT-2 or like Llama. A change takes a decoder, and returns it with other weights.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.models.decoder import Decoder
from tests.rebased import folded, rotated

Symmetry = Callable[[Decoder], Decoder]


def permuted_heads(decoder: Decoder) -> Decoder:
    """Heads change places, of grouped ones the groups and the heads within each."""
    config = decoder.model.config
    draw = torch.Generator().manual_seed(0)
    heads = config.num_attention_heads
    if _like_gpt2(decoder):
        order = _rows(torch.randperm(heads, generator=draw), decoder.hidden_size // heads)
        three = torch.cat([order + part * decoder.hidden_size for part in range(3)])
        for block in decoder.parts.blocks:
            attention: Any = block.attn
            _take(attention.c_attn, three, 1)
            _take(attention.c_proj, order, 0)
        return decoder
    groups = config.num_key_value_heads
    each = heads // groups
    shared = torch.randperm(groups, generator=draw)
    own = torch.cat([group * each + torch.randperm(each, generator=draw) for group in shared])
    for block in decoder.parts.blocks:
        attention = block.self_attn
        _take(attention.q_proj, _rows(own, attention.head_dim), 0)
        _take(attention.k_proj, _rows(shared, attention.head_dim), 0)
        _take(attention.v_proj, _rows(shared, attention.head_dim), 0)
        _take(attention.o_proj, _rows(own, attention.head_dim), 1)
    return decoder


def permuted_units(decoder: Decoder) -> Decoder:
    """The hidden units of each MLP change places."""
    draw = torch.Generator().manual_seed(1)
    for block in decoder.parts.blocks:
        mlp: Any = block.mlp
        if _like_gpt2(decoder):
            order = torch.randperm(mlp.c_fc.weight.shape[1], generator=draw)
            _take(mlp.c_fc, order, 1)
            _take(mlp.c_proj, order, 0)
        else:
            order = torch.randperm(mlp.up_proj.weight.shape[0], generator=draw)
            _take(mlp.gate_proj, order, 0)
            _take(mlp.up_proj, order, 0)
            _take(mlp.down_proj, order, 1)
    return decoder


def rescaled(decoder: Decoder) -> Decoder:
    """Factors move from norms, and of Llama from values and hidden units, to what reads them."""
    if not _like_gpt2(decoder):
        return folded(decoder)
    draw = torch.Generator().manual_seed(2)
    for block in decoder.parts.blocks:
        parts: Any = block
        for norm, reader in ((parts.ln_1, parts.attn.c_attn), (parts.ln_2, parts.mlp.c_fc)):
            scale = torch.exp(0.4 * torch.randn(decoder.hidden_size, generator=draw)).double()
            norm.weight.data.mul_(scale)
            norm.bias.data.mul_(scale)
            reader.weight.data.div_(scale[:, None])
    return decoder


SYMMETRIES: Mapping[str, Symmetry] = {
    "heads": permuted_heads,
    "hidden units": permuted_units,
    "factors": rescaled,
    "rotation": rotated,
}
"""Each by its name."""


def symmetries_of(decoder: Decoder) -> Mapping[str, Symmetry]:
    """Those that a model has: the mean that GPT-2's norms subtract is in one basis."""
    left_out = {"rotation"} if _like_gpt2(decoder) else set()
    return {name: change for name, change in SYMMETRIES.items() if name not in left_out}


def _like_gpt2(decoder: Decoder) -> bool:
    return decoder.family.name == "gpt2"


def _rows(order: Tensor, width: int) -> Tensor:
    """The rows of heads of this width in an order."""
    return torch.cat([torch.arange(head * width, (head + 1) * width) for head in order.tolist()])


def _take(module: Any, order: Tensor, dim: int) -> None:
    """Inputs or outputs of a linear map in another order; a bias goes with the outputs."""
    weight = module.weight.data
    weight.copy_(weight.index_select(dim, order))
    if module.bias is not None and _is_output(module, dim):
        module.bias.data.copy_(module.bias.data[order])


def _is_output(module: Any, dim: int) -> bool:
    """Whether a dimension of the weight is that of the outputs: the last of GPT-2's, else the first."""
    return dim == (1 if hasattr(module, "nf") else 0)
