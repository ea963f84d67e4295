"""What an audit holds in memory and on disk, from the sizes of its model and prompts."""

from dataclasses import dataclass

from pytest_injectivity.core.durations import size
from pytest_injectivity.plan.sizes import Sizes


@dataclass(frozen=True)
class Holdings:
    """Bytes that an audit needs.

    Attributes:
        weights: of the whole model.
        block: of one block.
        outside: of all that is no block: embeddings and a head.
        between: the states at every position of all prompts, which a capture that streams keeps from
            block to block.
        rows: the last-token states at the layers audited, which the store keeps.

    Example:
        >>> blocks = 80 * 855_654_400
        >>> sizes = Sizes(80, 8192, 128_256, blocks + 2_101_354_496, blocks, "bfloat16", 131_072)
        >>> print(Holdings.of(sizes, prompts=100_000, tokens=3_200_000, layers=81).words)
        weights 141 GB whole; streamed 7.63 GB (two blocks, and 4.2 GB outside them) and 52.4 GB of \
states between two blocks, in memory or in a file; rows of all layers 133 GB in the store
    """

    weights: int
    block: int
    outside: int
    between: int
    rows: int

    @classmethod
    def of(cls, sizes: Sizes, *, prompts: int, tokens: int, layers: int) -> "Holdings":
        """What an audit of a model holds.

        Args:
            sizes: of the model.
            prompts: how many.
            tokens: that go through the model in a capture.
            layers: how many are audited.
        """
        number = sizes.number_bytes
        return cls(
            weights=number * sizes.parameters,
            block=number * sizes.block_parameters // sizes.n_layers,
            outside=number * (sizes.parameters - sizes.block_parameters),
            between=tokens * sizes.state_bytes,
            rows=prompts * layers * sizes.state_bytes,
        )

    @property
    def words(self) -> str:
        """All of it in a sentence."""
        streamed = 2 * self.block + self.outside
        return (
            f"weights {size(self.weights)} whole; streamed {size(streamed)} (two blocks, and"
            f" {size(self.outside)} outside them) and {size(self.between)} of states between two blocks,"
            f" in memory or in a file; rows of all layers {size(self.rows)} in the store"
        )
