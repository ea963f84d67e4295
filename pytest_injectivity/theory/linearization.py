"""The derivatives of a difference of states by weights, in products that are held in parts.

The columns of ``J`` by the matrix of a linear layer are sums over tokens of an outer product: of what
goes into the layer, and of the derivatives by what comes out. Where the tokens are fewer than the inputs
of the layer, these two factors are held instead of the columns, which makes as many times less.
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
from pytest_injectivity.theory.changed_weights import Weights
from pytest_injectivity.theory.jacobian_products import JacobianProducts

# Coordinates of a state whose derivatives are computed at once.
_TOGETHER = 32
# How near the sum of a layer's outer products comes to its derivative, of the larger one's norm.
_SAME = 1e-6


@dataclass
class _Call:
    """A pass through a linear layer.

    Attributes:
        inputs: what went in, a row a token.
        output: what came out.
        moving: the tokens that move the difference: not those behind the last one, and no repeated row.
    """

    inputs: Tensor
    output: Tensor
    moving: Tensor

    @property
    def rows(self) -> Tensor:
        """The inputs of the tokens that move the difference."""
        return self.inputs[self.moving]


class Linearization:
    """Computes the products of ``J`` at the weights as they are.

    Args:
        over: names the weights, for errors.
        base: the module that they are in.
        parameters: the weights.
        held_bytes: of derivatives that are held at once.
    """

    def __init__(
        self, over: str, base: nn.Module, parameters: Mapping[str, Parameter], held_bytes: int
    ) -> None:
        self._over, self._parameters, self._held_bytes = over, parameters, held_bytes
        names = {id(one): name for name, one in parameters.items()}
        self._layers = {
            names[id(module.weight)]: module
            for module in base.modules()
            if isinstance(module, (nn.Linear, Conv1D)) and id(module.weight) in names
        }
        self._calls: dict[str, list[_Call]] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keeps what goes into linear layers, and what comes out, of the difference computed inside."""
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
            yield
        finally:
            for one in handles:
                one.remove()

    def of(
        self,
        difference: Float64[Tensor, " hidden"],
        change: Weights,
        roundings: Mapping[str, Weights],
    ) -> JacobianProducts:
        """The products at the weights that the difference was computed with.

        Args:
            difference: computed while `recorded`.
            change: of the weights, so far.
            roundings: further changes of them; zero for the weights that one does not name.

        Raises:
            OptionError: what has to be held of one tensor is too much.
        """
        view = JacobianProducts(difference.detach(), list(roundings))
        factored, plain = self._moving(difference)
        sizes = {name: self._parameters[name].numel() for name in plain}
        sizes |= {name: len(self._inputs(name)) * self._width(name) for name in factored}
        for group in self._groups(len(difference), sizes):
            whole = [name for name in group if name in plain]
            parts = [name for name in group if name not in plain]
            columns, outputs = self._derivatives(difference, whole, parts)
            for name, one in columns.items():
                others = {key: self._of(name, them).flatten() for key, them in roundings.items()}
                view.add(one, change[name].flatten(), others)
            for name, one in outputs.items():
                others = {
                    key: self._by_output(name, self._of(name, them))
                    for key, them in roundings.items()
                }
                changed = self._by_output(name, change[name])
                view.add_layer(one, self._inputs(name), changed, others)
        self._calls = {}
        return view

    def _of(self, name: str, weights: Weights) -> Tensor:
        return weights.get(name, torch.zeros_like(self._parameters[name]))

    def _inputs(self, name: str) -> Tensor:
        return torch.cat([one.rows for one in self._calls[name]])

    def _width(self, name: str) -> int:
        return int(self._calls[name][0].output.shape[-1])

    def _by_output(self, name: str, weight: Tensor) -> Tensor:
        """A matrix with a row for each output of its layer."""
        return weight.T if isinstance(self._layers[name], Conv1D) else weight

    def _moving(self, difference: Tensor) -> tuple[list[str], list[str]]:
        """The weights that move the difference: those of which factors are held, and the others."""
        if difference.grad_fn is None:
            return [], []
        calls = {name: some for name, some in self._calls.items() if some}
        # No even sum, which may be the same whatever the weights are, as behind a norm.
        summed = difference @ torch.linspace(1.0, 2.0, len(difference)).to(difference)
        outputs = [one.output for some in calls.values() for one in some]
        asked = [*self._parameters.values(), *outputs]
        found = iter(torch.autograd.grad(summed, asked, allow_unused=True, retain_graph=True))
        slopes = {name: next(found) for name in self._parameters}
        factored = []
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
                factored.append(name)
        plain = [name for name, one in slopes.items() if one is not None and name not in factored]
        return factored, plain

    def _groups(self, hidden: int, sizes: Mapping[str, int]) -> Iterator[list[str]]:
        """Names of the tensors whose derivatives are held at once."""
        group: list[str] = []
        held = 0
        for name, size in sizes.items():
            needed = 8 * hidden * size
            if needed > self._held_bytes:
                raise OptionError(
                    f"over={self._over!r}: the derivatives of {hidden:,} coordinates by {name} take"
                    f" {needed / 2**20:,.0f} MiB, and {self._held_bytes / 2**20:,.0f} may be held:"
                    " give shorter prompts, or over='embedding', which needs those of the prompts'"
                    " tokens alone"
                )
            if group and held + needed > self._held_bytes:
                yield group
                group, held = [], 0
            group.append(name)
            held += needed
        if group:
            yield group

    def _derivatives(
        self, difference: Tensor, whole: Sequence[str], parts: Sequence[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Of each coordinate: by the tensors, and by what comes out of the layers at each token."""
        hidden = len(difference)
        tensors = [self._parameters[name] for name in whole]
        outputs = [one.output for name in parts for one in self._calls[name]]
        columns = {
            name: difference.new_empty(hidden, self._parameters[name].numel()) for name in whole
        }
        rows = {
            name: difference.new_empty(hidden, len(self._inputs(name)), self._width(name))
            for name in parts
        }
        for at in torch.split(torch.arange(hidden), _TOGETHER):
            found = iter(
                torch.autograd.grad(
                    difference,
                    [*tensors, *outputs],
                    torch.eye(hidden)[at].to(difference),
                    retain_graph=True,
                    is_grads_batched=True,
                )
            )
            for name in whole:
                columns[name][at] = next(found).flatten(1)
            for name in parts:
                several = [next(found).flatten(1, -2)[:, one.moving] for one in self._calls[name]]
                rows[name][at] = torch.cat(several, dim=1)
        return columns, rows
