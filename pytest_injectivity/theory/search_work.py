"""How much a search for a collision computes and holds, counted without running one.

How many steps lead to a collision depends on the weights. Steps towards the least norm end after 20, and
a few more then reach the collision: 13 to 27 of them in 18 searches of three models (docs/log.md).
"""

from dataclasses import dataclass

from pytest_injectivity.core.layers import Layer, depth

MOST_STEPS = 40
"""Gauss-Newton steps after which a search ends."""
HELD_BYTES = 2**29
"""Of derivatives that are held at once."""
TOGETHER = 32
"""Coordinates of a state whose derivatives are computed at once."""
STEPS = (0, MOST_STEPS // 2 + 3, MOST_STEPS)
"""Steps of a search: the least (of prompts that collide as they are), typical, and the most."""

# Copies of the weights that may change, in float64, beside their roundings: as they were, the change,
# where a step goes, what it tries, and slopes. Of the embedding the rows of two prompts are so held, but
# the whole table is rounded.
_COPIES, _ROUNDING = 5, 3
# Times of a forward pass of as many tokens, in float64 (docs/log.md): to take the derivatives of a
# coordinate back through a block; to sum up the products of those by weights of the block; and, for a
# step, everything else: passes forward and back, with each prompt alone.
_BACK, _SUMMED, _REST = 2.5, 2.1, 17.0
# Passes of the rest that a call for some coordinates costs, whatever their number.
_A_CALL = 4.0


@dataclass(frozen=True)
class StepWork:
    """What a step costs, in passes through all blocks in float64.

    Attributes:
        passes: how many.
        tokens: in them, all together.
    """

    passes: float
    tokens: float


@dataclass(frozen=True)
class SearchWork:
    """The work of searches in a model over some of its weights.

    Attributes:
        n_layers: blocks.
        hidden: the width of a state.
        vocab: rows of the embedding.
        parameters: numbers of all weights.
        block_parameters: those of the blocks.
        over: the weights that may change; ``block``: each layer's own.
        roundings: of these weights, which a change is compared with.

    Example:
        >>> work = SearchWork(4, 128, 2048, 1_088_256, 793_088, "embedding", roundings=2)
        >>> work.bytes
        287627264
        >>> work.step(4, 16).tokens == 4 * work.step(1, 16).tokens
        True
    """

    n_layers: int
    hidden: int
    vocab: int
    parameters: int
    block_parameters: int
    over: str | int
    roundings: int

    @property
    def bytes(self) -> int:
        """The bytes that a search takes, with the float64 copy of the model."""
        rows = self.vocab * self.hidden if self.over in {"all", "embedding"} else 0
        copies = (_COPIES + self.roundings) * self._changing
        copies += (_ROUNDING + self.roundings) * rows
        derivatives = 8 * self.hidden * max(self._changing, rows)
        return 8 * (self.parameters + copies) + min(HELD_BYTES, derivatives)

    def step(self, layer: Layer, tokens: int) -> StepWork:
        """What a step of the search for a collision at a layer costs.

        Args:
            layer: where two prompts are to collide.
            tokens: of both prompts.
        """
        deepest = min(depth(layer), self.n_layers)
        own = self.over if isinstance(self.over, int) else deepest
        first = 1 if self.over in {"all", "embedding"} else own
        through = max(deepest - first + 1, 0)
        changing = {"all": deepest, "embedding": 0}.get(str(self.over), 1)
        # A block is passed again for those of its derivatives that were not held.
        again = self._parts(tokens) if changing else 1
        counted = self.hidden * tokens * (_BACK * through * again + _SUMMED * changing)
        calls = -(-self.hidden // TOGETHER) * through * again
        return StepWork(
            passes=(_REST * deepest + _A_CALL * calls) / self.n_layers,
            tokens=(counted + _REST / 2 * tokens * deepest) / self.n_layers,
        )

    @property
    def _changing(self) -> int:
        """Numbers of the blocks that may change."""
        if self.over == "embedding":
            return 0
        return self.block_parameters // (1 if self.over == "all" else self.n_layers)

    def _parts(self, tokens: int) -> int:
        """In how many parts the derivatives by a block are held.

        Of a matrix those by its outputs at each token are, where that is less than those by its numbers.
        """
        block = self.block_parameters // self.n_layers
        held = block * min(1.0, tokens / self.hidden)
        return max(1, -(-round(8 * self.hidden * held) // HELD_BYTES))
