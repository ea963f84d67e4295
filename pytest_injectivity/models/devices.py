"""The devices that a model computes on, by the name that a user gives them."""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError, OptionError

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps", "balanced")
# Numbers of the pattern that is copied from device to device, 4 MB.
_COPIED = 2**20


def resolve_devices(name: str) -> tuple[torch.device, ...]:
    """The devices a name stands for on this machine; see `load_decoder`.

    Returns:
        One device, or for ``"balanced"`` all CUDA devices: the first is where tokens go in and states
        come back.

    Raises:
        OptionError: the name is not accepted, or there are no such devices here.
    """
    mps, gpus = torch.backends.mps.is_available(), torch.cuda.device_count()
    if name == "auto":
        return (torch.device("cuda" if gpus else "mps" if mps else "cpu"),)
    if name == "balanced":
        if gpus <= 1:
            raise OptionError(
                f"device balanced shares a model among CUDA devices, and this machine has {gpus}: give"
                " auto, which takes what there is"
            )
        return tuple(torch.device("cuda", at) for at in range(gpus))
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise OptionError(f"device {name!r} is not accepted: give one of {', '.join(DEVICES)}")
    device = torch.device(name)
    count = {"cpu": 1, "mps": int(mps), "cuda": gpus}[device.type]
    if (device.index or 0) >= count:
        raise OptionError(f"device {name!r}: this machine has {count} of that kind")
    return (device,)


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device)


def verify_copies(
    source: str,
    devices: Sequence[torch.device],
    copy: Callable[[Tensor, torch.device], Tensor] = _copy,
) -> None:
    """Proves that what is copied from each device to each other arrives.

    With some drivers and settings of a machine, direct copies between two GPUs leave zeros, or what was
    in memory before, and report no error. States would then be wrong from the second device on.

    Args:
        source: names the checkpoint in messages.
        devices: that a model is shared among.
        copy: copies a tensor to a device.

    Raises:
        ModelError: a copy differs.
    """
    draw = torch.Generator().manual_seed(0)
    for one in devices:
        for other in devices:
            if other == one:
                continue
            # Another pattern each time: memory may still hold the one that was copied before.
            pattern = torch.randint(2**31, (_COPIED,), generator=draw, dtype=torch.int32)
            there = pattern.to(one)
            arrived = copy(there, other).cpu()
            if not torch.equal(arrived, pattern):
                wrong = int((arrived != pattern).sum())
                raise ModelError(
                    f"{source}: of {_COPIED} numbers copied from {one} to {other}, {wrong} arrived as"
                    " others, and states would be wrong: the driver's direct copies between GPUs do not"
                    f" work on this machine; give --injx-device={devices[0]}, or --injx-load=stream"
                    " where the model does not fit"
                )
