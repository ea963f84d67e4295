"""Where a model's weights go as it is loaded: to a device, its blocks to several, or nowhere.

Blocks that are left on disk are read when they run (`streamed_blocks`). The library decides where each
parameter's weights come from: from the checkpoint's own files, or, where it renames, merges or decodes
them, from files that it writes to a folder of this run, one parameter after the other.

Of a model that several devices share, everything but the blocks is on the first of them: tokens go in
there, and states come back. The library's hooks bring a block its inputs.
"""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.core.free_memory import free_memory
from pytest_injectivity.core.versions import installed_version
from pytest_injectivity.errors import MissingExtra, ModelError, OptionError
from pytest_injectivity.models.devices import verify_copies
from pytest_injectivity.models.families import find_family, find_parts
from pytest_injectivity.models.streamed_blocks import BlocksOnDisk, StreamedBlocks
from pytest_injectivity.quantization.library_calls import refusing

LOAD_MODES = ("auto", "whole", "stream")


@dataclass(frozen=True)
class Placement:
    """Where a model's weights go.

    Attributes:
        devices: of everything that is in memory; the first has all but the blocks.
        streamed: the blocks' weights stay on disk.
    """

    devices: tuple[torch.device, ...]
    streamed: bool = False

    @property
    def device(self) -> torch.device:
        """Where tokens go in and states come back."""
        return self.devices[0]

    @classmethod
    def of(
        cls,
        mode: str,
        devices: tuple[torch.device, ...],
        described: Any,
        dtype: str | torch.dtype,
        why_not: str,
    ) -> "Placement":
        """What a mode of loading stands for.

        Args:
            mode: one of `LOAD_MODES`.
            devices: of what is in memory; several share the blocks, unless these stay on disk.
            described: the model of the configuration, without memory for its weights.
            dtype: of the weights in memory; a text: the configuration's.
            why_not: why blocks cannot stay on disk; empty where they can.

        Raises:
            OptionError: the mode is not accepted, or the blocks should stay on disk and cannot.
        """
        if mode not in LOAD_MODES:
            accepted = ", ".join(LOAD_MODES)
            raise OptionError(f"load {mode!r} is not accepted: give one of {accepted}")
        if mode == "stream" and len(devices) > 1:
            why_not = "blocks on disk run on one device: give one instead of balanced"
        if mode == "stream" and why_not:
            raise OptionError(f"load stream is not accepted here: {why_not}")
        if mode == "stream":
            return cls(devices[:1], streamed=True)
        if mode == "whole" or why_not:
            return cls(devices)
        numbers = described.config.dtype if isinstance(dtype, str) else dtype
        size = (numbers or torch.float32).itemsize
        needed = size * sum(one.numel() for one in described.parameters())
        # Each of several devices has as many weights as the others.
        if needed > len(devices) * min(map(free_memory, devices)):
            return cls(devices[:1], streamed=True)
        return cls(devices)

    @contextmanager
    def asked(self, source: str, described: Any) -> Iterator[dict[str, Any]]:
        """What the library's loader is asked for, and no folder left behind where loading fails.

        Args:
            source: names the checkpoint in messages.
            described: the model of the configuration, without memory for its weights.

        Raises:
            MissingExtra: blocks stay on disk or are shared, and accelerate is not installed.
            ModelError: what is copied from one of the devices to another does not arrive.
        """
        if not self.streamed and len(self.devices) == 1:
            yield {}
            return
        self._refuse_without_library(source)
        blocks = find_parts(described, find_family(described)).blocks
        if not self.streamed:
            verify_copies(source, self.devices)
            yield {
                "device_map": dict(_places(described, self._shared(described, blocks), self.device))
            }
            return
        with refusing(f"{source}: no folder for weights can be made in {tempfile.gettempdir()}"):
            folder = tempfile.mkdtemp(prefix="pytest-injectivity-weights-")
        try:
            places = dict(_places(described, dict.fromkeys(blocks, "disk"), self.device))
            yield {"device_map": places, "offload_folder": folder}
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _refuse_without_library(self, source: str) -> None:
        if installed_version("accelerate") is not None:
            return
        what, instead = "a model that several devices share (--injx-device=balanced)", "device=cuda"
        if self.streamed:
            what = "weights that do not fit into memory, or --injx-load=stream, are read block by block,"
            instead = "load=whole"
        raise MissingExtra(
            f"{source}: {what} which needs accelerate:"
            f' pip install "pytest-injectivity[stream]"; or give --injx-{instead}'
        )

    def _shared(self, described: nn.Module, blocks: nn.ModuleList) -> dict[nn.Module, str]:
        """The device of each block: consecutive ones, so that each device has as many weights."""
        sizes = [sum(one.numel() for one in block.parameters()) for block in blocks]
        outside = sum(one.numel() for one in described.parameters()) - sum(sizes)
        numbers = shares(sizes, outside, len(self.devices))
        return {
            block: str(self.devices[number]) for block, number in zip(blocks, numbers, strict=True)
        }

    def settle(self, source: str, model: Any, settings: Mapping[str, Any]) -> StreamedBlocks | None:
        """Moves what is in memory to the device; returns the blocks that are not.

        Args:
            source: names the checkpoint in messages.
            model: fresh from the library.
            settings: what the library was asked for.

        Raises:
            ModelError: the library kept a block's weights in memory, or on another device than asked.
        """
        if not self.streamed:
            if len(self.devices) == 1:
                model.to(self.device)
            else:
                _refuse_misplaced(source, model, settings["device_map"])
            return None
        from accelerate.hooks import remove_hook_from_module

        parts = find_parts(model, find_family(model))
        stored = _stored(parts.blocks)
        # The library's hooks would read a weight at each use of it.
        remove_hook_from_module(model, recurse=True)
        held = [name for name, one in parts.blocks.named_parameters() if not one.is_meta]
        if stored is None or held:
            raise ModelError(
                f"{source}: the library keeps weights of the blocks in memory, such as"
                f" {', '.join(held[:3])}: --injx-load=whole is accepted"
            )
        index: Mapping[str, Mapping[str, str]] = getattr(stored, "index", {})
        files = {Path(one["safetensors_file"]) for one in index.values()}
        disk = BlocksOnDisk(
            model, parts.blocks, stored, self.device, source=source, files=sorted(files)
        )
        weakref.finalize(disk, shutil.rmtree, settings["offload_folder"], ignore_errors=True)
        return StreamedBlocks(parts.blocks, disk)


def shares(sizes: Sequence[int], outside: int, count: int) -> list[int]:
    """Which device each block goes to, by number, so that all have about as many weights.

    Args:
        sizes: weights of each block.
        outside: weights that are on the first device anyway.
        count: of the devices.

    Example:
        >>> shares([10, 10, 10, 10], 0, 2), shares([10, 10, 10, 10], 20, 2)
        ([0, 0, 1, 1], [0, 1, 1, 1])
    """
    total, before, found = outside + sum(sizes), outside, []
    for size in sizes:
        # By the middle of the block, were all weights laid out in a row.
        found.append(min(count - 1, (2 * before + size) * count // (2 * max(total, 1))))
        before += size
    return found


def _places(
    module: nn.Module, blocks: Mapping[nn.Module, str], device: torch.device
) -> Iterator[tuple[str, str]]:
    """Where each part of a model goes, by its name: the library wants parts that cover the model."""
    for name, child in module.named_children():
        if child in blocks:
            yield name, blocks[child]
        elif blocks.keys().isdisjoint(child.modules()):
            yield name, str(device)
        else:
            for inner, place in _places(child, blocks, device):
                yield f"{name}.{inner}", place
    for name, _ in module.named_parameters(recurse=False):
        yield name, str(device)


def _refuse_misplaced(source: str, model: nn.Module, places: Mapping[str, str]) -> None:
    """Refuses a model of which a part is not on the device that it was asked for.

    Raises:
        ModelError: a weight is elsewhere.
    """
    for name, one in model.named_parameters():
        asked = [at for part, at in places.items() if f"{name}.".startswith(f"{part}.")]
        if [one.device] != list(map(torch.device, asked)):
            raise ModelError(
                f"{source}: the library put {name} on {one.device}, not on"
                f" {' and '.join(asked) or 'any device that was asked for'}: give one device instead of"
                " balanced"
            )


def _stored(blocks: nn.Module) -> Mapping[str, Tensor] | None:
    """The weights that the library's hooks of the blocks read, by their names in the model."""
    for module in blocks.modules():
        hook: Any = getattr(module, "_hf_hook", None)
        for one in getattr(hook, "hooks", [hook]):
            if (weights := getattr(one, "weights_map", None)) is not None:
                stored: Mapping[str, Tensor] = weights.dataset
                return stored
    return None
