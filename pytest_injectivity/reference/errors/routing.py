"""Which experts each token is sent to, seen as a model runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from pytest_injectivity.core.shapes import Int
from pytest_injectivity.models.decoder import Decoder

_STACKED = 3


@dataclass(frozen=True, eq=False)
class Routing:
    """The choices of the router of one block.

    Attributes:
        chosen: the experts of each token of a pass, rows one after the other.
        experts: how many experts the block has.
    """

    chosen: Int[Tensor, "tokens choices"]
    experts: int


@contextmanager
def routing(decoder: Decoder) -> Iterator[dict[int, Routing]]:
    """Collects, by block from 1, what the routers of a model choose in the pass that runs inside.

    Experts are known by stacked weights and by a matrix of integers that they are called with.
    """
    found: dict[int, Routing] = {}

    def keep(block: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        chosen = next((one for one in (*args, *kwargs.values()) if _is_choice(one)), None)
        if chosen is not None:
            found[block] = Routing(chosen, stacked_experts(module))

    with ExitStack() as hooks:
        for at, block in enumerate(decoder.parts.blocks, 1):
            for module in block.modules():
                if stacked_experts(module):
                    hooks.enter_context(
                        module.register_forward_pre_hook(partial(keep, at), with_kwargs=True)
                    )
        yield found


def stacked_experts(module: nn.Module) -> int:
    """How many experts a module holds in stacked matrices of its own; 0 for other modules."""
    stacks = [one for one in module.parameters(recurse=False) if one.ndim == _STACKED]
    sizes = {len(one) for one in stacks}
    # A convolution has one stack.
    return sizes.pop() if len(stacks) > 1 and len(sizes) == 1 else 0


def _is_choice(argument: object) -> bool:
    return (
        isinstance(argument, Tensor)
        and argument.ndim == 2  # noqa: PLR2004 - tokens and choices
        and not argument.is_floating_point()
        and not argument.is_complex()
    )
