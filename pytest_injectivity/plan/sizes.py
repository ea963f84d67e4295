"""The sizes of a model that the cost of an audit depends on; no weights are needed for them."""

from dataclasses import dataclass

from pytest_injectivity.core.layers import Layer, depth

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model.

    Attributes:
        n_layers: blocks.
        hidden: the width of the residual stream.
        vocab: rows of the input embedding.
        parameters: numbers of its weights.
        block_parameters: those of its blocks.
        dtype: of the states, such as ``float32``.
        context: the longest prompt accepted; None where there is no limit.
        used_parameters: of the blocks' the ones that a token is multiplied with; 0: all of them.
    """

    n_layers: int
    hidden: int
    vocab: int
    parameters: int
    block_parameters: int
    dtype: str
    context: int | None
    used_parameters: int = 0

    @property
    def number_bytes(self) -> int:
        """Bytes of a number of a state, and of a weight in memory."""
        return _BYTES[self.dtype]

    @property
    def state_bytes(self) -> int:
        """Bytes of the state of one token at one layer."""
        return self.hidden * self.number_bytes

    @property
    def is_half(self) -> bool:
        """Whether states have 16 bits a number."""
        return self.number_bytes == 2  # noqa: PLR2004 - bytes

    def share(self, layer: Layer) -> float:
        """The share of the blocks that a pass to this layer runs."""
        return min(depth(layer), self.n_layers) / self.n_layers
