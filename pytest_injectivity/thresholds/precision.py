"""The precision of a model's weights: what was proved of them, or their dtype."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_injectivity.models.facts import ModelFacts

_DTYPES = {"float64": 64.0, "float32": 32.0, "bfloat16": 16.0, "float16": 16.0}


@dataclass(frozen=True, order=True)
class Precision:
    """The precision of a model's weights.

    Attributes:
        bits: of a weight, on average; scales are not counted.
        kind: how they are quantized, such as ``bnb-nf4``, or their dtype.

    >>> str(Precision(4.0, "bnb-nf4"))
    '4 bnb-nf4'
    """

    bits: float
    kind: str

    def __str__(self) -> str:
        return f"{self.bits:g} {self.kind}"

    @classmethod
    def of(cls, facts: "ModelFacts") -> "Precision":
        """The precision that was proved of a loaded model."""
        if facts.quantized is None:
            return cls(_DTYPES[facts.dtype], facts.dtype)
        return cls(facts.quantized.bits, facts.quantized.kind)
