"""Availability of a float64 copy of the model, and the reason where there is none."""

from typing import TYPE_CHECKING

from pytest_injectivity.audit.target.target import Target

if TYPE_CHECKING:
    import torch

# Bytes of a copy that takes seconds to be made and run.
_LARGE = 2**28


class Float64Copies:
    """Says whether a float64 copy of a target's model can be had.

    Args:
        target: the model and the prompt set.
    """

    def __init__(self, target: Target) -> None:
        self.target = target

    @property
    def cheap(self) -> bool:
        """Whether a copy takes less than 256 MiB: worth making for a detail of a verdict."""
        return 8 * self.target.facts.parameters < _LARGE

    def why_none(self) -> str:
        """Why no float64 copy of the model can be had; empty where one can."""
        if rounds := self._rounds_activations():
            return (
                f"a float64 copy of {self.target.config.model} would be another function, as {rounds}"
                " as it runs"
            )
        if self.target.streams:
            return (
                f"a float64 copy of {self.target.config.model} holds all weights in memory, and its"
                " blocks stay on disk (--injx-load=stream)"
            )
        needed = 8 * self.target.facts.parameters
        free = self.free(needed)
        if needed < free:
            return ""
        return (
            f"a float64 copy of {self.target.config.model} needs {needed / 2**30:.1f} GiB and"
            f" {free / 2**30:.1f} are free"
        )

    def free(self, needed: int) -> int:
        """The free bytes of the model's devices; a model beside it is unloaded where more are needed."""
        self.target.make_room(needed)
        devices = self.target.kept.devices
        return len(devices) * min(map(free_bytes, devices))

    def available(self, otherwise: str) -> bool:
        """Whether there is a float64 copy of the model; announced where there is none."""
        if not (reason := self.why_none()):
            return True
        self.target.watcher.announce(f"injectivity: {reason}: {otherwise}")
        return False

    def _rounds_activations(self) -> str:
        """The name of whatever rounds activations as the model runs; empty where nothing does."""
        if self.target.config.activation_bits is not None:
            return f"its activations are rounded to {self.target.config.activation_bits.words}"
        quantized = self.target.facts.quantized
        if quantized is not None and quantized.rounds_activations:
            return f"{quantized.kind} rounds activations"
        return ""


def free_bytes(device: "torch.device") -> int:
    """The free bytes of a device that the model is on."""
    from pytest_injectivity.core.free_memory import free_memory

    return free_memory(device)
