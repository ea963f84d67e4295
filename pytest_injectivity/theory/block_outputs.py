"""Outputs of blocks, through which all that stands below them moves two states.

Derivatives by them are held on the way down, so that those by the weights of a block start at its own
output: a block is passed once, and not again for each part of the weights below it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from pytest_injectivity.core.shapes import Float64

# How near a derivative through the outputs of a block comes to the whole one, of its norm.
_SAME = 1e-6


@dataclass(frozen=True)
class Stage:
    """Weights whose derivatives start at the same tensors.

    Attributes:
        sources: what the weights move the difference of two states through: the difference itself, or
            what comes out of a block, of each pass.
        names: the weights.
        below: the sources of the next stage.
    """

    sources: list[Tensor]
    names: list[str]
    below: list[Tensor]


class BlockOutputs:
    """Keeps what comes out of blocks, and says which weights move two states through it alone.

    Args:
        blocks: in order.
        parameters: the weights that may move them.
    """

    def __init__(self, blocks: Sequence[nn.Module], parameters: Mapping[str, Parameter]) -> None:
        names = {id(one): name for name, one in parameters.items()}
        self._blocks, self._parameters = blocks, parameters
        self._own = [
            [names[id(one)] for one in block.parameters() if id(one) in names] for block in blocks
        ]
        self._kept: list[list[Tensor]] = [[] for _ in blocks]

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keeps what comes out of the blocks, of the states computed inside."""
        self.forget()

        def keep(place: int) -> Any:
            def kept(_module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
                self._kept[place].append(output[0] if isinstance(output, tuple) else output)

            return kept

        handles = [one.register_forward_hook(keep(at)) for at, one in enumerate(self._blocks)]
        try:
            yield
        finally:
            for one in handles:
                one.remove()

    def forget(self) -> None:
        """Lets go of what was kept."""
        self._kept = [[] for _ in self._blocks]

    @property
    def held(self) -> int:
        """How many numbers are held of each coordinate: those of two outputs in a row."""
        return 2 * max((sum(one.numel() for one in some) for some in self._kept), default=0)

    def stages(
        self,
        difference: Float64[Tensor, " hidden"],
        summed: Float64[Tensor, ""],
        slopes: Mapping[str, Tensor],
    ) -> list[Stage]:
        """The weights from the difference down, each where its whole derivative starts.

        A weight of several blocks starts at the uppermost of them, and one that moves a state past the
        output of its block at the difference; where what comes out of a block does so, all do.

        Args:
            difference: of two states computed while `recorded`.
            summed: of both, a number that tells by its derivatives what they depend on.
            slopes: these by the weights that move it.
        """
        flows = self._flows(summed)
        # From the last block down; the lowest has what stands below all of them.
        places = sorted(flows, reverse=True)
        inside = {name for place in places for name in self._own[place]}
        found: list[Stage] = []
        others = list(slopes)
        for place, below in zip(places, [*places[1:], None], strict=True):
            tried = [name for name in self._own[place] if name in others]
            if below is None:
                tried += [name for name in others if name not in inside]
            lower = [] if below is None else self._kept[below]
            through = self._through(place, flows[place], tried, lower)
            rest = through[len(tried) :]
            if below is not None and not all(map(_same, rest, flows[below])):
                return [Stage([difference], list(slopes), [])]
            names = [
                name for name, one in zip(tried, through, strict=False) if _same(one, slopes[name])
            ]
            found.append(Stage(self._kept[place], names, lower))
            others = [name for name in others if name not in names]
        while found and not found[-1].names:
            found.pop()
        if found:
            found[-1] = replace(found[-1], below=[])
        return [Stage([difference], others, found[0].sources if found else []), *found]

    def _flows(self, summed: Tensor) -> dict[int, list[Tensor]]:
        """The derivatives by the outputs of the blocks that move it."""
        kept = {
            place: some
            for place, some in enumerate(self._kept)
            if some and all(one.requires_grad for one in some)
        }
        asked = [one for some in kept.values() for one in some]
        if not asked:
            return {}
        found = iter(torch.autograd.grad(summed, asked, allow_unused=True, retain_graph=True))
        flows = {place: [next(found) for _ in some] for place, some in kept.items()}
        return {
            place: some for place, some in flows.items() if all(one is not None for one in some)
        }

    def _through(
        self, place: int, flows: Sequence[Tensor], names: Sequence[str], lower: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """The derivatives by weights, and by the outputs below, through the output of a block."""
        asked = [*(self._parameters[name] for name in names), *lower]
        if not asked:
            return ()
        return torch.autograd.grad(
            self._kept[place], asked, flows, allow_unused=True, retain_graph=True
        )


def _same(through: Tensor | None, whole: Tensor) -> bool:
    return through is not None and bool((through - whole).norm() <= _SAME * whole.norm())
