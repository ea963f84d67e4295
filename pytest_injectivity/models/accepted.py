"""The tokens, lengths and layers that a model accepts; others are refused before a pass begins."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Int
from pytest_injectivity.errors import LayerError, PromptError

if TYPE_CHECKING:
    from pytest_injectivity.models.prefix import Prefix
    from pytest_injectivity.models.prefix_buffer import PrefixBuffer


class Accepted:
    """What passes of a model are asked for, checked.

    Args:
        source: the model's name, for errors.
        n_layers: its blocks.
        vocab_size: rows of its input embedding.
        context: the longest prompt, in tokens; None where there is no limit.

    Example:
        >>> import torch
        >>> Accepted("a model", 4, 100, 32).ids(torch.tensor([[7, 99]]))
        tensor([[ 7, 99]])
    """

    def __init__(self, source: str, n_layers: int, vocab_size: int, context: int | None) -> None:
        self._source, self._n_layers = source, n_layers
        self._vocab_size, self._context = vocab_size, context

    def ids(self, ids: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        """The ids as they are, because a GPU would abort the process where one is refused.

        Raises:
            PromptError: one has no row of the embedding.
        """
        low, high = (int(bound) for bound in ids.aminmax()) if ids.numel() else (0, 0)
        if low < 0 or high >= self._vocab_size:
            raise PromptError(
                f"token id {low if low < 0 else high} is outside the embedding of {self._source}:"
                f" ids 0 to {self._vocab_size - 1} are accepted"
            )
        return ids

    def length(self, length: int) -> None:
        """Refuses a prompt of too many tokens.

        Raises:
            PromptError: it exceeds the context.
        """
        if self._context is not None and length > self._context:
            raise PromptError(
                f"a prompt of {length} tokens exceeds the context of {self._source}:"
                f" at most {self._context} are accepted"
            )

    def layers(
        self, layers: Sequence[Layer], prefix: "Prefix | PrefixBuffer | None" = None
    ) -> None:
        """Refuses layers that a pass does not reach.

        Args:
            layers: asked for.
            prefix: the cached tokens that the pass continues.

        Raises:
            LayerError: there is none, or the model or the prefix does not reach one.
        """
        if not layers:
            raise LayerError('no layer is named: give integers from 0 to L, or "norm"')
        for layer in layers:
            if layer != "norm" and not 0 <= layer <= self._n_layers:
                raise LayerError(
                    f"layer {layer} is out of range: {self._source} has layers 0 to {self._n_layers}"
                    ' and "norm"'
                )
        if prefix is not None and max(map(depth, layers)) > depth(prefix.depth):
            raise LayerError(
                f"layer {max(layers, key=depth)} lies deeper than the prefix, which was kept up to"
                f" layer {prefix.depth}"
            )
