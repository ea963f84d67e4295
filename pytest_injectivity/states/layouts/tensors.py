"""Safetensors files of states: their header checked, then their tensors read."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pytest_injectivity.core.text import one_line
from pytest_injectivity.states.external_header import INTEGERS, STATES, Header, open_header
from pytest_injectivity.states.layouts.base import Reading, nbytes, refusal

__all__ = ["INTEGERS", "STATES", "opened", "read_tensors"]

_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I32": 4, "I64": 8}


def opened(path: Path, reading: Reading, known: Iterable[str]) -> Header:
    """The header of a file that holds no other tensors than those known.

    Raises:
        OptionError: it is no safetensors file, or holds a tensor of another name.
    """
    header = open_header(path, str(path), reading.limits, metadata=None)
    accepted = sorted(known)
    if unknown := sorted(header.tensors.keys() - set(accepted)):
        raise header.refuse(
            f"tensor {one_line(unknown[0])!r} is not known: {', '.join(accepted)} are accepted"
        )
    return header


def read_tensors(
    path: Path, header: Header, names: Iterable[str], reading: Reading
) -> dict[str, Tensor]:
    """Tensors of a file whose shapes were checked.

    Raises:
        OptionError: they are too large, or the file is damaged.
    """
    wanted = list(names)
    for name in wanted:
        stored = header.tensors[name]
        reading.take(path, nbytes(stored.shape, _BYTES[stored.dtype]))
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise refusal(path, f"it is no complete safetensors file: {one_line(str(error))}") from None
    return {name: one.to(torch.long) if _whole(one) else one for name, one in found.items()}


def _whole(one: Tensor) -> bool:
    return not one.is_floating_point()
