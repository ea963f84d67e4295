"""What an audit holds in memory and on disk, from the sizes of its model and prompts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_injectivity.core.durations import size
from pytest_injectivity.core.text import number_of
from pytest_injectivity.plan.sizes import Sizes

_GPUS = (2, 4, 8)


@dataclass(frozen=True)
class Holdings:
    """Bytes that an audit needs.

    Attributes:
        weights: of the whole model.
        block: of one block.
        outside: of all that is no block: embeddings and a head.
        shared: of the weights on the fullest of several GPUs that share them, by how many there are.
        between: the states at every position of all prompts, which a capture that streams keeps from
            block to block.
        rows: the last-token states at the layers audited, which the store keeps.

    Example:
        >>> blocks = 80 * 855_654_400
        >>> sizes = Sizes(80, 8192, 128_256, blocks + 2_101_354_496, blocks, "bfloat16", 131_072)
        >>> print(Holdings.of(sizes, prompts=100_000, tokens=3_200_000, layers=81).words())
        weights 141 GB whole; balanced over 2, 4, 8 GPUs at most 70.9 GB, 35.9 GB, 18.8 GB each; \
streamed 7.63 GB (two blocks, and 4.2 GB outside them) and 52.4 GB of states between two blocks, in \
memory or in a file; rows of all layers 133 GB in the store
    """

    weights: int
    block: int
    outside: int
    shared: Mapping[int, int]
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
        block = number * sizes.block_parameters // sizes.n_layers
        outside = number * (sizes.parameters - sizes.block_parameters)
        counts = (one for one in _GPUS if one <= sizes.n_layers)
        return cls(
            weights=number * sizes.parameters,
            block=block,
            outside=outside,
            shared={one: _fullest(block, sizes.n_layers, outside, one) for one in counts},
            between=tokens * sizes.state_bytes,
            rows=prompts * layers * sizes.state_bytes,
        )

    def words(self, *, workers: int = 0, streamed: bool = True) -> str:
        """All of it in a sentence.

        Args:
            workers: processes that each hold the weights; 0: this one alone does.
            streamed: whether the blocks can stay on disk.
        """
        counts, most = ", ".join(map(str, self.shared)), ", ".join(map(size, self.shared.values()))
        parts = [
            f"weights {size(self.weights)} whole",
            f"{size(workers * self.weights)} in {number_of(workers, 'worker')}" if workers else "",
            f"balanced over {counts} GPUs at most {most} each" if self.shared else "",
            self._streamed if streamed else "",
            f"rows of all layers {size(self.rows)} in the store",
        ]
        return "; ".join(filter(None, parts))

    @property
    def _streamed(self) -> str:
        held, outside = size(2 * self.block + self.outside), size(self.outside)
        return (
            f"streamed {held} (two blocks, and {outside} outside them) and {size(self.between)} of"
            " states between two blocks, in memory or in a file"
        )


def _fullest(block: int, blocks: int, outside: int, count: int) -> int:
    """Bytes on the fullest of several devices, the first of which has all but the blocks."""
    from pytest_injectivity.models.placement import shares

    held = Counter(shares([block] * blocks, outside, count))
    return max(outside + held[0] * block, *(number * block for number in held.values()))
