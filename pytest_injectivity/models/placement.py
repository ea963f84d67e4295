"""Where a model's weights go as it is loaded: all of them to a device, or those of its blocks nowhere.

Blocks that are left on disk are read when they run (`streamed_blocks`). The library decides where each
parameter's weights come from: from the checkpoint's own files, or, where it renames, merges or decodes
them, from files that it writes to a folder of this run, one parameter after the other.
"""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.core.free_memory import free_memory
from pytest_injectivity.core.versions import installed_version
from pytest_injectivity.errors import MissingExtra, ModelError, OptionError
from pytest_injectivity.models.families import find_family, find_parts
from pytest_injectivity.models.streamed_blocks import BlocksOnDisk, StreamedBlocks
from pytest_injectivity.quantization.library_calls import refusing

LOAD_MODES = ("auto", "whole", "stream")


@dataclass(frozen=True)
class Placement:
    """Where a model's weights go.

    Attributes:
        device: of everything that is in memory.
        streamed: the blocks' weights stay on disk.
    """

    device: torch.device
    streamed: bool = False

    @classmethod
    def of(
        cls,
        mode: str,
        device: torch.device,
        described: Any,
        dtype: str | torch.dtype,
        why_not: str,
    ) -> "Placement":
        """What a mode of loading stands for.

        Args:
            mode: one of `LOAD_MODES`.
            device: of what is in memory.
            described: the model of the configuration, without memory for its weights.
            dtype: of the weights in memory; a text: the configuration's.
            why_not: why blocks cannot stay on disk; empty where they can.

        Raises:
            OptionError: the mode is not accepted, or the blocks should stay on disk and cannot.
        """
        if mode not in LOAD_MODES:
            accepted = ", ".join(LOAD_MODES)
            raise OptionError(f"load {mode!r} is not accepted: give one of {accepted}")
        if mode == "stream" and why_not:
            raise OptionError(f"load stream is not accepted here: {why_not}")
        if mode != "auto" or why_not:
            return cls(device, mode == "stream")
        numbers = described.config.dtype if isinstance(dtype, str) else dtype
        size = (numbers or torch.float32).itemsize
        needed = size * sum(one.numel() for one in described.parameters())
        return cls(device, needed > free_memory(device))

    @contextmanager
    def asked(self, source: str, described: Any) -> Iterator[dict[str, Any]]:
        """What the library's loader is asked for, and no folder left behind where loading fails.

        Args:
            source: names the checkpoint in messages.
            described: the model of the configuration, without memory for its weights.

        Raises:
            MissingExtra: blocks stay on disk, and accelerate is not installed.
        """
        if not self.streamed:
            yield {}
            return
        if installed_version("accelerate") is None:
            raise MissingExtra(
                f"{source}: weights that do not fit into memory, or --injx-load=stream, are read block"
                ' by block, which needs accelerate: pip install "pytest-injectivity[stream]"; or give'
                " --injx-load=whole"
            )
        blocks = find_parts(described, find_family(described)).blocks
        with refusing(f"{source}: no folder for weights can be made in {tempfile.gettempdir()}"):
            folder = tempfile.mkdtemp(prefix="pytest-injectivity-weights-")
        try:
            places = dict(_places(described, set(blocks), self.device))
            yield {"device_map": places, "offload_folder": folder}
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def settle(self, source: str, model: Any, settings: Mapping[str, Any]) -> StreamedBlocks | None:
        """Moves what is in memory to the device; returns the blocks that are not.

        Args:
            source: names the checkpoint in messages.
            model: fresh from the library.
            settings: what the library was asked for.

        Raises:
            ModelError: the library kept a block's weights in memory.
        """
        if not self.streamed:
            model.to(self.device)
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


def _places(
    module: nn.Module, blocks: set[nn.Module], device: torch.device
) -> Iterator[tuple[str, str]]:
    """Where each part of a model goes, by its name: the library wants parts that cover the model."""
    for name, child in module.named_children():
        if child in blocks:
            yield name, "disk"
        elif blocks.isdisjoint(child.modules()):
            yield name, str(device)
        else:
            for inner, place in _places(child, blocks, device):
                yield f"{name}.{inner}", place
    for name, _ in module.named_parameters(recurse=False):
        yield name, str(device)


def _stored(blocks: nn.Module) -> Mapping[str, Tensor] | None:
    """The weights that the library's hooks of the blocks read, by their names in the model."""
    for module in blocks.modules():
        hook: Any = getattr(module, "_hf_hook", None)
        for one in getattr(hook, "hooks", [hook]):
            if (weights := getattr(one, "weights_map", None)) is not None:
                stored: Mapping[str, Tensor] = weights.dataset
                return stored
    return None
