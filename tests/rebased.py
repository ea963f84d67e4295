"""Children that compute their parent's function with other weights: turned, or with factors moved.

As QuaRot and SpinQuant turn the residual stream, and AWQ and SmoothQuant move factors between weights.
"""

from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import untie_head


def orthogonal(width: int, seed: int = 0) -> Tensor:
    """A random orthogonal matrix in float64."""
    drawn = torch.randn(width, width, generator=torch.Generator().manual_seed(seed)).double()
    return torch.linalg.qr(drawn)[0]


def rotated(decoder: Decoder, seed: int = 0) -> Decoder:
    """Turns the residual stream of a llama-like model, its norms folded; returns the decoder given."""
    fold_norms(decoder)
    turn = orthogonal(decoder.hidden_size, seed)
    embeddings: Any = decoder.parts.embeddings
    _set(embeddings, embeddings.weight.double() @ turn)
    for block in decoder.parts.blocks:
        for reader in _readers(block):
            _set(reader, reader.weight.double() @ turn)
        for writer in _writers(block):
            _set(writer, turn.T @ writer.weight.double())
            if writer.bias is not None:
                writer.bias.copy_(turn.T @ writer.bias.double())
    head: Any = decoder.model.get_output_embeddings()
    _set(head, head.weight.double() @ turn)
    return decoder


def fold_norms(decoder: Decoder) -> Decoder:
    """Moves the gains of norms into what reads them, the head too; returns the decoder given."""
    untie_head(decoder)
    for block in decoder.parts.blocks:
        parts: Any = block
        attention, mlp = _readers(block)[:3], _readers(block)[3:]
        _fold(parts.input_layernorm, attention)
        _fold(parts.post_attention_layernorm, mlp)
    _fold(decoder.parts.norm, [decoder.model.get_output_embeddings()])
    return decoder


def folded(decoder: Decoder, seed: int = 0) -> Decoder:
    """Moves random factors: norms to their readers, values to outputs, up to down; no state changes."""
    generator = torch.Generator().manual_seed(seed)

    def factors(width: int) -> Tensor:
        return torch.exp(0.4 * torch.randn(width, generator=generator)).double()

    for block in decoder.parts.blocks:
        parts: Any = block
        attention, mlp = _readers(block)[:3], _readers(block)[3:]
        for norm, readers in (
            (parts.input_layernorm, attention),
            (parts.post_attention_layernorm, mlp),
        ):
            scale = factors(decoder.hidden_size)
            _set(norm, norm.weight.double() * scale)
            for reader in readers:
                _set(reader, reader.weight.double() / scale)
        value, output = parts.self_attn.v_proj, parts.self_attn.o_proj
        scale = factors(value.weight.shape[0])
        _set(value, value.weight.double() * scale[:, None])
        if value.bias is not None:
            value.bias.copy_(value.bias.double() * scale)
        width = parts.self_attn.head_dim
        groups = output.weight.shape[1] // len(scale)
        _set(
            output,
            output.weight.double() / scale.view(-1, width).repeat_interleave(groups, 0).flatten(),
        )
        scale = factors(parts.mlp.up_proj.weight.shape[0])
        _set(parts.mlp.up_proj, parts.mlp.up_proj.weight.double() * scale[:, None])
        _set(parts.mlp.down_proj, parts.mlp.down_proj.weight.double() / scale)
    return decoder


def _readers(block: Any) -> list[Any]:
    """What multiplies a norm's output: three in the attention, two in the MLP."""
    attention, mlp = block.self_attn, block.mlp
    return [attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj]


def _writers(block: Any) -> list[Any]:
    """What is added to the residual stream."""
    return [block.self_attn.o_proj, block.mlp.down_proj]


def _fold(norm: Any, readers: list[Any]) -> None:
    for reader in readers:
        _set(reader, reader.weight.double() * norm.weight.double())
    norm.weight.fill_(1.0)


def _set(module: Any, weight: Tensor) -> None:
    with torch.no_grad():
        module.weight.copy_(weight)
