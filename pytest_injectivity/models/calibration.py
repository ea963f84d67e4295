"""Calibrates the static scales of rounded activations on a sample of prompts.

This is the usual calibration after training: one pass in full precision over every position of the
sample. Each prompt runs alone, so that no padding is seen and neither the order nor the batches change
a bit.
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
    """Draws the prompts that static scales come from, by hash: the set's order does not matter."""
    return prompts.subset(min(grid.calibrated or CALIBRATION_PROMPTS, len(prompts)))


def calibrate(decoder: Decoder, prompts: Sequence[Sequence[int]], grid: Grid) -> Rounding:
    """Makes the rounding of a model's activations, with calibrated scales where they are static.

    Args:
        decoder: the model in full precision.
        prompts: token ids of the sample; at least one prompt, none where each token has its own scale.
        grid: the grid that activations are rounded to.

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
    """Collects the outermost values of one block's outputs."""

    def __init__(self, extremes: Extremes) -> None:
        self._extremes = extremes
        self._finite = True

    def take(self, _block: object, _args: object, output: Any) -> None:
        """Adds the outputs of one pass; a forward hook of the block."""
        # The rows after the first are copies of it (`repeated_rows`), and would count more than once.
        rows = residual_stream(output)[0]
        finite = rows.isfinite()
        self._finite = self._finite and bool(finite.all())
        self._extremes.add(rows.where(finite, 0))

    def scale(self, zero: str) -> Scale:
        """The scale of the finite values that were seen.

        A block whose only finite values are zeros, beside others that are not finite, gets a NaN scale:
        its states then fail as not finite, which is what is wrong with them.

        Args:
            zero: the error's text where every value was zero.

        Raises:
            OptionError: every value was zero.
        """
        scale = self._extremes.scale()
        if bool(scale.step.any()):
            return scale
        if self._finite:
            raise OptionError(zero)
        return Scale(scale.grid, scale.step * torch.nan, scale.zero)
