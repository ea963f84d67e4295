"""What was proved about the quantized weights of a loaded model.

Plain data, which travels to reports and stores: the standard library only.
"""

from dataclasses import dataclass

_ALL = 0.9995


@dataclass(frozen=True, kw_only=True)
class BlockBits:
    """The quantized matrices of one block.

    Attributes:
        block: its number, from 1.
        bits: of a quantized weight, on average.
        least: the fewest bits of any of its quantized matrices.
        share: of the numbers in its matrices, those that are quantized.
    """

    block: int
    bits: float
    least: float
    share: float


@dataclass(frozen=True, kw_only=True)
class QuantizationInfo:
    """How the weights of a model are quantized.

    Attributes:
        kind: in words: ``bnb-nf4``, ``torchao-int8``, ``compressed-tensors W4A16``, ``gguf Q4_0``.
        bits: of a quantized weight, on average; scales are not counted.
        share: of the numbers in the blocks' matrices, those that are quantized: above 0, to 1.
        layers: what was counted, such as ``16 Linear4bit``.
        dense: the few-bit values are held as floating-point numbers, decoded as they were read: they
            compute as plain weights do.
        leaves_activations: activations stay as they are here that a server's kernels round.
        rounds_activations: what enters a quantized layer is rounded as the model runs: no float64
            copy computes the same function.
        neighbors: what is rounded depends on the other rows and tokens of a batch.
        blocks: the blocks that have quantized matrices, each with its bits.
        embedding: the bits of the token embeddings; None where they are not quantized.
        head: the bits of a head of its own; None where it is not quantized.
    """

    kind: str
    bits: float
    share: float
    layers: str
    dense: bool = False
    leaves_activations: bool = False
    rounds_activations: bool = False
    neighbors: bool = False
    blocks: tuple[BlockBits, ...] = ()
    embedding: float | None = None
    head: float | None = None

    @property
    def line(self) -> str:
        """One line for a report."""
        share = "all" if self.share > _ALL else f"{100 * self.share:.1f} %"
        held = " held dense" if self.dense else ""
        rounded = ", activations rounded as it runs" if self.rounds_activations else ""
        if self.leaves_activations:
            rounded += ", activations not rounded as a server's kernels do"
        return (
            f"{self.kind}: {self.bits:g}-bit values{held} in {share} of the blocks' weights"
            f" ({self.layers}){rounded}"
        )

    @property
    def caution(self) -> str:
        """A warning that states depend on what else is in the batch; empty where they do not."""
        if not self.neighbors:
            return ""
        return (
            f"{self.kind} rounds a channel finely where any token of the batch is an outlier in it:"
            " a prompt's states depend on the prompts beside it, and on its own later tokens; the"
            " resolution includes it"
        )
