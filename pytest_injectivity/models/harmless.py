"""Tensors of a checkpoint that no parameter takes and that do no harm: two short tables.

Towers beside the text decoder are known by the beginning of their names: no hidden state passes through
them. Masks, positions and rotary tables were saved by older versions of the library, which computes them
today; such a tensor is harmless where its values are those that the model computes.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.tower_names import TOWERS

ROTARY = re.compile(r"(?:^|\.)(?:\w+_)?inv_freq$")
POSITIONS = re.compile(r"(?:^|\.)position_ids$")
_MASK = re.compile(r"(?:attn|attention)\.bias$")
_MASKED = re.compile(r"(?:attn|attention)\.masked_bias$")
# Older versions saved rotary tables in the dtype of the weights.
_CLOSE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
_HIDES_ALL = -1e3


def towers_beside(stored: Iterable[str], model: Any) -> tuple[str, ...]:
    """The towers of a checkpoint that a text decoder has no parameters for, by their names' beginnings.

    Args:
        stored: the names of the checkpoint's tensors.
        model: as it was built.
    """
    taken = {name for name, _ in model.named_parameters()}
    found = (TOWERS.match(name) for name in stored if name not in taken)
    return tuple(sorted({one[0].removesuffix(".") for one in found if one}))


def why_harmful(name: str, model: Any, read: Callable[[str], Tensor]) -> str:
    """Why a tensor that no parameter takes must not be left out.

    Args:
        name: the tensor's.
        model: as it was built.
        read: gives a tensor of the files by its name.

    Returns:
        A reason in words; empty where the tensor is harmless.
    """
    if TOWERS.match(name):
        return ""
    for pattern, judge in _JUDGES:
        if pattern.search(name):
            return judge(read(name), model)
    return "it would be dropped"


def _rotary(stored: Tensor, model: Any) -> str:
    same = any(_close(stored, own) for own in _buffers(model, ROTARY))
    return "" if same else "the model computes other rotary frequencies"


def _positions(stored: Tensor, _model: Any) -> str:
    found = stored.flatten()
    same = bool((found == torch.arange(len(found))).all())
    return "" if same else "its positions are not 0, 1, 2, ..."


def _masked(stored: Tensor, _model: Any) -> str:
    return "" if bool((stored <= _HIDES_ALL).all()) else "it hides nothing"


def _mask(stored: Tensor, model: Any) -> str:
    hidden = stored.bool()
    if hidden.ndim < 2:  # noqa: PLR2004 - a mask has a row and a column for each position
        return "it is no causal mask"
    if any(hidden.equal(own.bool().cpu()) for own in _buffers(model, _MASK)):
        return ""
    causal = torch.ones(stored.shape[-2:], dtype=torch.bool).tril()
    return "" if bool((hidden == causal).all()) else "it is no causal mask"


_JUDGES: tuple[tuple[re.Pattern[str], Callable[[Tensor, Any], str]], ...] = (
    (ROTARY, _rotary),
    (POSITIONS, _positions),
    (_MASKED, _masked),
    (_MASK, _mask),
)


def _close(stored: Tensor, own: Tensor) -> bool:
    wide, mine = stored.double(), own.double().cpu()
    near = _CLOSE.get(stored.dtype, 0.0)
    return wide.shape == mine.shape and bool(((wide - mine).abs() <= near * mine.abs()).all())


def _buffers(model: Any, pattern: re.Pattern[str]) -> Iterator[Tensor]:
    return (buffer for name, buffer in model.named_buffers() if pattern.search(name))
