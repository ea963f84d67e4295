"""Rounds the output of every block as a model runs, so that the error propagates to later blocks.

The arithmetic is that of post-hoc quantization (`arithmetic`, SPEC section 2, "in the loop"). Scales of
a layer or a channel are static and calibrated once (`models.calibration`); a token's own scale is
computed as the token passes. Either way the rounding of a token depends on that token alone, never on
its batch.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.quantization.arithmetic import Scale, scale_of
from pytest_injectivity.quantization.grid import Grid


@dataclass(frozen=True, eq=False)
class Rounding:
    """How the outputs of a model's blocks are rounded.

    Attributes:
        grid: the grid.
        steps: distance between neighboring codes, a row a block: one number, or one a channel; NaN
            where a block gave no finite state. None: each token has a scale of its own.
        zeros: the codes that stand for zero, shaped as ``steps``.
    """

    grid: Grid
    steps: Float64[np.ndarray, "blocks columns"] | None = None
    zeros: Float64[np.ndarray, "blocks columns"] | None = None

    @cached_property
    def _placed(self) -> dict[torch.device, list[Scale]]:
        """The static scales on each device that needed them."""
        return {}

    @contextmanager
    def hooks(self, blocks: Iterable[Any]) -> Iterator[None]:
        """Rounds what the blocks return; hooks that are registered later see the rounded output."""
        with ExitStack() as stack:
            for at, block in enumerate(blocks):
                stack.enter_context(block.register_forward_hook(partial(self._hook, at)))
            yield

    def rounded(self, block: int, states: Float[Tensor, "*batch hidden"]) -> Tensor:
        """Rounds the output of a block to its grid, in the output's own dtype.

        Values that are not finite stay as they are, so that rounding does not hide them. The gradient
        passes as if nothing were rounded.

        Args:
            block: its number, counted from 0.
            states: its output.
        """
        rows = states.detach().reshape(-1, states.shape[-1])
        scale = self._scale(block, rows)
        values = scale.values(scale.codes(rows)).to(states.dtype)
        rounded = torch.where(rows.isfinite(), values, rows).view_as(states)
        if states.requires_grad and torch.is_grad_enabled():
            apply: Any = _StraightThrough.apply  # torch's own has no types
            straight: Tensor = apply(states, rounded)
            return straight
        return rounded

    def _hook(self, at: int, _block: object, _args: object, output: Any) -> Any:
        return with_residual_stream(output, self.rounded(at, residual_stream(output)))

    def _scale(self, block: int, rows: Float[Tensor, "rows hidden"]) -> Scale:
        if self.steps is None or self.zeros is None:
            return scale_of(rows, self.grid)
        if rows.device not in self._placed:
            # Double precision does not exist on mps.
            dtype = torch.float32 if rows.device.type == "mps" else torch.float64
            self._placed[rows.device] = [
                Scale(
                    self.grid,
                    torch.tensor(step[None], dtype=dtype, device=rows.device),
                    torch.tensor(zero[None], dtype=dtype, device=rows.device),
                )
                for step, zero in zip(self.steps, self.zeros, strict=True)
            ]
        return self._placed[rows.device][block]


def residual_stream(output: Any) -> Tensor:
    """The hidden states in a block's output; or the first of a tuple or list that it returns."""
    states: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return states


def with_residual_stream(output: Any, states: Tensor) -> Any:
    """A block's output with its hidden states replaced by these."""
    if isinstance(output, list):
        return [states, *output[1:]]
    return (states, *output[1:]) if isinstance(output, tuple) else states


class _StraightThrough(torch.autograd.Function):
    """Gives the rounded states forward, and passes the gradient back as if nothing were rounded."""

    @staticmethod
    def forward(_context: Any, states: Tensor, rounded: Tensor) -> Tensor:  # noqa: ARG004 - autograd's
        return rounded

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
