"""Whether a model's states are its parent's in another basis (SPEC section 7, "Another basis").

Quantization by rotation (QuaRot, SpinQuant) multiplies what every block reads and writes by one
orthogonal matrix: the function is the same, and every state is turned. A residual stream has one basis,
so the matrix is fitted on the embeddings of half of the tokens (the orthogonal Procrustes problem,
Schönemann, 1966) and judged on rows that it was not fitted on: the other tokens, and the prompts' states
of a layer.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pytest_injectivity.core.shapes import Float64

EXPLAINS = 0.5
"""The largest median ``||h - h'|| / ||h'||`` of states that a map explains; of unrelated ones 1.4."""

TIMES = 3.0
"""How many times nearer to the parent's a rotation must bring the states than they are without one."""


class BasisKind(StrEnum):
    """What brings a layer's states to the parent's."""

    IDENTITY = "identity"
    ROTATED = "rotated"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Rotation:
    """The orthogonal map from a model's embeddings to its parent's.

    Attributes:
        tokens: how many tokens it was fitted on; it is judged on as many others.
        width: of a state.
        before: the median ``||e - e'|| / ||e'||`` of the other tokens, as they are.
        after: the same, mapped; NaN where there are too few tokens to fit a map.
        matrix: ``e @ matrix`` is near ``e'``; None where that explains the other tokens no better.
    """

    tokens: int
    width: int
    before: float
    after: float
    matrix: Float64[np.ndarray, "width width"] | None


@dataclass(frozen=True)
class Basis:
    """The basis of a layer's states, seen from the parent.

    Attributes:
        kind: ``identity`` where the states lie near the parent's as they are; ``rotated`` where they do
            after a rotation; ``unknown`` where neither is so, or too little is known to tell.
        before: the median ``||h - h'|| / ||h'||`` over the prompts, as the states are.
        after: the same, rotated; NaN where no rotation was tried.
        words: a sentence for people; empty for the identity.
        matrix: ``h @ matrix`` is near ``h'``, and of layers before the final norm orthogonal, so that
            ``h' @ matrix.T`` is a parent's state in the model's basis; None unless rotated.
    """

    kind: BasisKind
    before: float
    after: float = float("nan")
    words: str = ""
    matrix: Float64[np.ndarray, "width width"] | None = None


def is_rotation(before: float, after: float) -> bool:
    """Whether a rotation explains states that lie as far from the parent's without it and with it.

    >>> is_rotation(1.4, 0.2), is_rotation(1.4, 0.6), is_rotation(0.4, 0.3)
    (True, False, False)
    """
    return before > EXPLAINS >= after and after * TIMES <= before
