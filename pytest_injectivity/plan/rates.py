"""How fast a machine does the kinds of work that an audit consists of."""

from dataclasses import dataclass

from pytest_injectivity.core.durations import duration, size
from pytest_injectivity.plan.sizes import Sizes

_FLOPS_A_PARAMETER = 2
# A pass through one block costs this whatever it holds: calls of the library, hooks, small products.
_BLOCK_SECONDS = 1e-3
# Entries of a product looked at in a second, and the cost of one search whatever it compares.
_LOOKED_AT = 2e8
_SEARCH_SECONDS = 0.01


@dataclass(frozen=True)
class Search:
    """The cost of a search over all pairs of rows.

    Attributes:
        fixed: seconds whatever the number of rows.
        pair: seconds a pair.
    """

    fixed: float
    pair: float

    def seconds(self, rows: int) -> float:
        """Of a search over so many rows."""
        return self.fixed + self.pair * rows * (rows - 1) / 2


@dataclass(frozen=True)
class Rates:
    """What one unit of each kind of work takes on a machine, in seconds.

    Attributes:
        forward: of a forward pass through all blocks, whatever its size.
        token: of each token in it.
        candidate: of one token behind a cached prefix, through all blocks.
        float64: how many times longer a token takes in a float64 copy of the model.
        neighbors: of the search for nearest neighbors.
        ratios: of the search for co-Lipschitz constants.
        words: where the numbers come from.
    """

    forward: float
    token: float
    candidate: float
    float64: float
    neighbors: Search
    ratios: Search
    words: str

    @classmethod
    def assumed(cls, sizes: Sizes, tflops: float, *, read: float = 0.0) -> "Rates":
        """Rates of a machine that nothing is measured on.

        Args:
            sizes: of the model.
            tflops: what its matrix products reach, in TFLOP/s.
            read: bytes a second at which every pass reads the blocks' weights from disk; 0: they are in
                memory.

        Example:
            >>> Rates.assumed(Sizes(4, 128, 2048, 1_050_000, 790_000, "float32", 256), 0.1).words
            'assumed: 0.1 TFLOP/s'
        """
        flops = tflops * 1e12
        reading = sizes.block_parameters * sizes.number_bytes / read if read else 0.0
        words = f"assumed: {tflops:g} TFLOP/s"
        used = sizes.used_parameters or sizes.block_parameters
        token = _FLOPS_A_PARAMETER * used / flops
        pair = 2 * sizes.hidden / flops + 1 / _LOOKED_AT
        return cls(
            forward=_BLOCK_SECONDS * sizes.n_layers + reading,
            token=token,
            # The passes of a vocabulary share what is read.
            candidate=token + reading / sizes.vocab,
            float64=2.0,
            neighbors=Search(_SEARCH_SECONDS, pair),
            ratios=Search(_SEARCH_SECONDS, 2 * pair),
            words=f"{words}, weights read at {size(read)} a second" if read else words,
        )

    @property
    def tokens_a_second(self) -> float:
        """Of passes large enough that what a pass costs by itself does not matter."""
        return 1 / self.token

    def said(self, seconds: float) -> str:
        """Where the numbers come from, with the most important of them."""
        took = f" ({duration(seconds)})" if seconds else ""
        return f"{self.words}{took}: {self.tokens_a_second:,.0f} tokens/s"
