"""Damages one part of a loaded model, whatever it is quantized to, and takes the damage back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.formats.registry import packed
from pytest_injectivity.reference.parts import Part, parts_of

_GROUP = 64


def scaled(factor: float) -> Callable[[Tensor, Tensor, int], Tensor]:
    """Every number times a factor, as with a wrong scale."""
    return lambda weight, _stale, _row: weight * factor


def row_times_8(weight: Tensor, _stale: Tensor, row: int) -> Tensor:
    """One output, or one number of a vector, 8 times too large."""
    damaged = weight.clone()
    damaged[row % len(weight)] *= 8
    return damaged


def two_bits(weight: Tensor, _stale: Tensor, _row: int) -> Tensor:
    """Rounded to three values in groups of inputs."""
    rows = weight.reshape(1, -1) if weight.ndim == 1 else weight
    width = rows.shape[1]
    groups = rows.reshape(len(rows), -1, width if width % _GROUP else _GROUP)
    scale = groups.abs().amax(2, keepdim=True).clamp(min=1e-30)
    return ((groups / scale).round() * scale).reshape(weight.shape)


def halves_exchanged(weight: Tensor, _stale: Tensor, _row: int) -> Tensor:
    """The first half of the outputs where the second belongs."""
    return weight.roll(len(weight) // 2, 0)


def stale(_weight: Tensor, other: Tensor, _row: int) -> Tensor:
    """The weights of the same part of another block, as a stale shard holds."""
    return other


DAMAGES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "x1.5": scaled(1.5),
    "x0.67": scaled(0.67),
    "row x8": row_times_8,
    "2 bits": two_bits,
    "halves exchanged": halves_exchanged,
    "stale copy": stale,
    "sign flipped": scaled(-1.0),
}
"""Each damage takes the weight, that of the same part of another block, and a row."""

KINDS = ("q", "k", "v", "o", "gate", "up", "down", "norm", "embedding", "head")


def parts_of_kind(decoder: Decoder, kind: str) -> list[Part]:
    """The parts of a model that are of one of `KINDS`, shallow first."""
    every = parts_of(decoder)
    if kind == "norm":
        return [part for part in every if part.role.endswith(" norm") or part.site == "norm"]
    if kind == "embedding":
        embeddings = decoder.parts.embeddings
        return [part for part in every if part.of(decoder) is embeddings]
    if kind == "head":
        return [part for part in every if part.site == "head"]
    return [part for part in every if part.role == kind]


def weight_of(decoder: Decoder, part: Part) -> Tensor:
    """The weight of a part in float32, outputs first."""
    return dict(part.tensors(decoder))["weight"].float().clone()


@contextmanager
def with_weight(decoder: Decoder, part: Part, weight: Tensor) -> Iterator[None]:
    """Lets a model have another weight in a part, quantized as the part is.

    Args:
        decoder: the model; it is as it was afterwards.
        part: of it.
        weight: outputs first; of a fused module, those of the part.
    """
    module = part.of(decoder)
    before = module.weight
    whole = weight
    if part.outputs is not None:
        whole = next(_dense(module)).float().clone()
        whole[part.outputs] = weight
    try:
        module.weight = _quantized(module, before, whole)
        yield
    finally:
        module.weight = before


def _dense(module: nn.Module) -> Iterator[Tensor]:
    found = packed(module)
    weight = module.weight
    yield found.dense() if found is not None else weight.T if isinstance(module, Conv1D) else weight


def _quantized(module: nn.Module, before: Tensor, whole: Tensor) -> nn.Parameter:
    found = packed(module)
    if found is None:
        turned = whole.T if isinstance(module, Conv1D) else whole
        return nn.Parameter(turned.to(before.dtype).contiguous(), requires_grad=False)
    if found.kind.startswith("bnb-"):
        from bitsandbytes.nn import Params4bit

        state = before.quant_state
        made = Params4bit(
            whole,
            requires_grad=False,
            quant_type=state.quant_type,
            blocksize=state.blocksize,
            compress_statistics=state.nested,
        )
        return made.to(before.device)
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    linear = nn.Linear(whole.shape[1], whole.shape[0], bias=False)
    linear.weight = nn.Parameter(whole.contiguous(), requires_grad=False)
    quantize_(linear, Int8WeightOnlyConfig())
    return linear.weight


def another(decoder: Decoder, part: Part, parts: list[Part]) -> Tensor | None:
    """The weight of the same part of another block; None where there is none."""
    others = [one for one in parts if one.site != part.site and one.name == part.name]
    return weight_of(decoder, others[0]) if others else None


def used_row(part: Part, kind: str, weight: Tensor, ids: list[int], draw: torch.Generator) -> int:
    """A row of a weight; of embeddings and of the head one of a token that the prompts hold."""
    del part
    if kind in {"embedding", "head"}:
        return ids[int(torch.randint(len(ids), (1,), generator=draw))]
    return int(torch.randint(len(weight), (1,), generator=draw))
