"""The static scales of a model that rounds its activations, from a sample of prompts.

The usual calibration after training: one pass in full precision over every position of the sample,
each prompt alone, so that no padding is seen and neither order nor batches change a bit.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.quantization.activation_hooks import Rounding, residual_stream
from pytest_injectivity.quantization.arithmetic import Extremes, Scale
from pytest_injectivity.quantization.grid import Grid

CALIBRATION_PROMPTS = 64
"""The size of the sample where the grid names none."""


def calibration_prompts(grid: Grid, prompts: PromptSet) -> PromptSet:
    """The prompts that static scales come from: drawn by hash, whatever the set's order."""
    return prompts.subset(min(grid.calibrated or CALIBRATION_PROMPTS, len(prompts)))


def calibrate(decoder: Decoder, prompts: Sequence[Sequence[int]], grid: Grid) -> Rounding:
    """How a model's activations are rounded, its scales calibrated where they are static.

    Args:
        decoder: the model in full precision.
        prompts: token ids of the sample; at least one prompt, none where each token has its own scale.
        grid: to what.

    Raises:
        OptionError: a block's output is zero at every position of the sample.
    """
    if grid.per == "token":
        return Rounding(grid)
    tokens = sum(map(len, prompts))
    values = tokens if grid.per == "channel" else tokens * decoder.hidden_size
    seen = [_Seen(Extremes(grid, values)) for _ in decoder.parts.blocks]
    with ExitStack() as hooks:
        for one, block in zip(seen, decoder.parts.blocks, strict=True):
            hooks.enter_context(block.register_forward_hook(one.take))
        for ids in prompts:
            last = torch.tensor([len(ids) - 1])
            decoder.states(torch.tensor([list(ids)]), [decoder.n_layers], positions=last)
    scales = [
        one.scale(
            f"{decoder.source}: the output of block {at} is zero at every position of"
            f" {len(prompts)} prompts: it has no scale for {grid.words}"
        )
        for at, one in enumerate(seen, 1)
    ]
    steps, zeros = (
        np.stack([side.flatten().double().cpu().numpy() for side in sides])
        for sides in zip(*((scale.step, scale.zero) for scale in scales), strict=True)
    )
    return Rounding(grid, steps, zeros)


class _Seen:
    """What a block has given so far."""

    def __init__(self, extremes: Extremes) -> None:
        self._extremes = extremes
        self._finite = True

    def take(self, _block: object, _args: object, output: Any) -> None:
        """Takes the block's outputs as they pass."""
        rows = residual_stream(output).flatten(0, 1)
        finite = rows.isfinite()
        self._finite = self._finite and bool(finite.all())
        self._extremes.add(rows.where(finite, 0))

    def scale(self, zero: str) -> Scale:
        """Of the finite values; a block that has none but zeros fails by its states, not here.

        Args:
            zero: what is wrong where every value was zero.
        """
        scale = self._extremes.scale()
        if bool(scale.step.any()):
            return scale
        if self._finite:
            raise OptionError(zero)
        return Scale(scale.grid, scale.step * torch.nan, scale.zero)
