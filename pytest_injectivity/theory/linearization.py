"""The derivatives of a difference of states by weights, in products that are held in parts.

The columns of ``J`` by the matrix of a linear layer are sums over tokens of an outer product: of what
goes into the layer, and of the derivatives by what comes out. Where the tokens are fewer than the inputs
of the layer, these two factors are held instead of the columns, which makes as many times less. Where
that is still too much at once, the derivatives by outputs of blocks are held as well (`block_outputs`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.theory.block_outputs import BlockOutputs, Stage
from pytest_injectivity.theory.changed_weights import Weights
from pytest_injectivity.theory.jacobian_products import JacobianProducts
from pytest_injectivity.theory.search_work import TOGETHER

# How near the sum of a layer's outer products comes to its derivative, of the larger one's norm.
_SAME = 1e-6


@dataclass
class _Call:
    """A pass through a linear layer.

    Attributes:
        inputs: what went in, a row a token.
        output: what came out.
        moving: the tokens that move the states: not those behind the last one, and no repeated row.
    """

    inputs: Tensor
    output: Tensor
    moving: Tensor

    @property
    def rows(self) -> Tensor:
        """The inputs of the tokens that move the states."""
        return self.inputs[self.moving]


class Linearization:
    """Computes the products of ``J`` at the weights as they are.

    Args:
        over: names the weights, for errors.
        base: the module that they are in.
        blocks: its blocks, in order.
        parameters: the weights.
        held_bytes: of derivatives that are held at once.
    """

    def __init__(
        self,
        over: str,
        base: nn.Module,
        blocks: Sequence[nn.Module],
        parameters: Mapping[str, Parameter],
        held_bytes: int,
    ) -> None:
        self._over, self._parameters, self._held_bytes = over, parameters, held_bytes
        self._outputs = BlockOutputs(blocks, parameters)
        names = {id(one): name for name, one in parameters.items()}
        self._layers = {
            names[id(module.weight)]: module
            for module in base.modules()
            if isinstance(module, (nn.Linear, Conv1D)) and id(module.weight) in names
        }
        self._calls: dict[str, list[_Call]] = {}
        self._factored: set[str] = set()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keeps what goes through linear layers and blocks, of the states computed inside."""
        self._calls = {name: [] for name in self._layers}

        def keep(name: str) -> Any:
            def kept(_module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
                inputs = given[0].detach().flatten(0, -2)
                every = torch.ones(len(inputs), dtype=torch.bool, device=inputs.device)
                self._calls[name].append(_Call(inputs, output, every))

            return kept

        handles = [
            module.register_forward_hook(keep(name)) for name, module in self._layers.items()
        ]
        try:
            with self._outputs.recorded():
                yield
        finally:
            for one in handles:
                one.remove()

    def of(
        self,
        states: tuple[Float64[Tensor, " hidden"], Float64[Tensor, " hidden"]],
        change: Weights,
        roundings: Mapping[str, Weights],
    ) -> JacobianProducts:
        """The products, of the first state less the second, at the weights that they were computed with.

        Args:
            states: computed while `recorded`.
            change: of the weights, so far.
            roundings: further changes of them; zero for the weights that one does not name.

        Raises:
            OptionError: what has to be held of one tensor is too much.
        """
        with torch.enable_grad():
            difference, summed = states[0] - states[1], _summed(*states)
        view = JacobianProducts(difference.detach(), list(roundings))
        by_source = [torch.eye(len(difference)).to(difference)]
        for stage, groups in self._planned(difference, summed):
            lower: list[Tensor] = []
            for at, group in enumerate(groups, 1):
                below = stage.below if at == len(groups) else []
                held, lower = self._derivatives(stage, by_source, group, below)
                for name, one in held.items():
                    self._add(view, name, one, change[name], roundings)
            by_source = lower
        self._calls, self._factored = {}, set()
        self._outputs.forget()
        return view

    def _add(
        self,
        view: JacobianProducts,
        name: str,
        held: Tensor,
        change: Tensor,
        roundings: Mapping[str, Weights],
    ) -> None:
        others = {key: self._of(name, them) for key, them in roundings.items()}
        if name not in self._factored:
            flat = {key: one.flatten() for key, one in others.items()}
            view.add(held, change.flatten(), flat)
            return
        turned = {key: self._by_output(name, one) for key, one in others.items()}
        view.add_layer(held, self._inputs(name), self._by_output(name, change), turned)

    def _of(self, name: str, weights: Weights) -> Tensor:
        return weights.get(name, torch.zeros_like(self._parameters[name]))

    def _inputs(self, name: str) -> Tensor:
        return torch.cat([one.rows for one in self._calls[name]])

    def _width(self, name: str) -> int:
        return int(self._calls[name][0].output.shape[-1])

    def _by_output(self, name: str, weight: Tensor) -> Tensor:
        """A matrix with a row for each output of its layer."""
        return weight.T if isinstance(self._layers[name], Conv1D) else weight

    def _planned(self, difference: Tensor, summed: Tensor) -> list[tuple[Stage, list[list[str]]]]:
        """The weights that move the states, by where their derivatives start, held in groups."""
        if difference.grad_fn is None:
            return []
        slopes = self._moving(summed)
        sizes = {
            name: len(self._inputs(name)) * self._width(name)
            if name in self._factored
            else one.numel()
            for name, one in slopes.items()
        }
        numbers = self._held_bytes // (8 * len(difference))
        if sum(sizes.values()) <= numbers:
            return [(Stage([difference], list(sizes), []), [list(sizes)])] if sizes else []
        self._check(len(difference), sizes)
        left = numbers - self._outputs.held
        if max(sizes.values()) <= left:
            stages = self._outputs.stages(difference, summed, slopes)
        else:
            left, stages = numbers, [Stage([difference], list(sizes), [])]
        return [(stage, _groups(stage.names, sizes, left)) for stage in stages]

    def _moving(self, summed: Tensor) -> dict[str, Tensor]:
        """The derivatives by the weights that move a sum; notes those of which factors are held."""
        calls = {name: some for name, some in self._calls.items() if some}
        outputs = [one.output for some in calls.values() for one in some]
        asked = [*self._parameters.values(), *outputs]
        found = iter(torch.autograd.grad(summed, asked, allow_unused=True, retain_graph=True))
        slopes = {name: next(found) for name in self._parameters}
        self._factored = set()
        for name, some in calls.items():
            by_output = [next(found) for _ in some]
            if slopes[name] is None or any(one is None for one in by_output):
                continue
            for one, rows in zip(some, by_output, strict=True):
                one.moving = rows.flatten(0, -2).any(1)
            rows = torch.cat([one.flatten(0, -2) for one in by_output])
            inputs = torch.cat([one.inputs for one in some])
            slope = self._by_output(name, slopes[name])
            # A weight that is used elsewhere too is no such sum.
            same = (rows.T @ inputs - slope).norm() <= _SAME * slope.norm()
            if same and len(self._inputs(name)) < inputs.shape[1]:
                self._factored.add(name)
        return {name: one for name, one in slopes.items() if one is not None}

    def _check(self, hidden: int, sizes: Mapping[str, int]) -> None:
        """Refuses a tensor whose derivatives are too many."""
        for name, size in sizes.items():
            needed = 8 * hidden * size
            if needed > self._held_bytes:
                raise OptionError(
                    f"over={self._over!r}: the derivatives of {hidden:,} coordinates by {name} take"
                    f" {needed / 2**20:,.0f} MiB, and {self._held_bytes / 2**20:,.0f} may be held:"
                    " give shorter prompts, or over='embedding', which needs those of the prompts'"
                    " tokens alone"
                )

    def _derivatives(
        self,
        stage: Stage,
        by_source: Sequence[Float64[Tensor, "hidden ..."]],
        names: Sequence[str],
        below: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Of each coordinate, by weights or what comes out of their layers, and by the sources below."""
        hidden = len(by_source[0])
        held = {name: by_source[0].new_empty(hidden, *self._shape(name)) for name in names}
        lower = [one.new_empty(hidden, *one.shape) for one in below]
        asked = [*(one for name in names for one in self._asked(name)), *below]
        for at in torch.split(torch.arange(hidden), TOGETHER):
            found = iter(
                torch.autograd.grad(
                    stage.sources,
                    asked,
                    [one[at] for one in by_source],
                    retain_graph=True,
                    is_grads_batched=True,
                )
            )
            for name, one in held.items():
                if name in self._factored:
                    calls = self._calls[name]
                    several = [next(found).flatten(1, -2)[:, call.moving] for call in calls]
                    one[at] = torch.cat(several, dim=1)
                else:
                    one[at] = next(found).flatten(1)
            for one in lower:
                one[at] = next(found)
        return held, lower

    def _asked(self, name: str) -> list[Tensor]:
        if name in self._factored:
            return [one.output for one in self._calls[name]]
        return [self._parameters[name]]

    def _shape(self, name: str) -> tuple[int, ...]:
        if name in self._factored:
            return len(self._inputs(name)), self._width(name)
        return (self._parameters[name].numel(),)


def _summed(first: Tensor, second: Tensor) -> Tensor:
    """A number that every weight moves that moves one of two states."""
    # No even sum, which may be the same whatever the weights are, as behind a norm; and not of the
    # difference, of which near a collision the derivatives are nothing but rounding.
    shares = torch.linspace(1.0, 2.0, len(first)).to(first)
    return first @ shares + second @ shares.flip(0)


def _groups(names: Sequence[str], sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names of the tensors whose derivatives are held at once; of no tensors one group of none."""
    groups: list[list[str]] = [[]]
    held = 0
    for name in names:
        if groups[-1] and held + sizes[name] > most:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += sizes[name]
    return groups
