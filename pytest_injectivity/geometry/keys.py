"""The names of what is computed of one layer's rows (see `core.number_keys`)."""

from dataclasses import dataclass
from typing import TypeAlias

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.number_keys import NumberKey


@dataclass(frozen=True)
class RowsKey(NumberKey):
    """The rows of a layer: the last-token states of the prompts, as they were computed."""

    layer: Layer


@dataclass(frozen=True)
class RoundedRowsKey(NumberKey):
    """Rows after post-hoc activation quantization.

    Attributes:
        rows: those that are rounded.
        grid: the grid they are rounded to, as `Grid.parse` reads it.
        scale: the digest of the grid's scale where it was calibrated on other rows; None: it comes from
            these rows themselves.
    """

    rows: "AnyRowsKey"
    grid: str
    scale: str | None


AnyRowsKey: TypeAlias = RowsKey | RoundedRowsKey
"""The rows that a number is computed from."""


@dataclass(frozen=True)
class FiniteRowsKey(NumberKey):
    """Which rows are finite."""

    rows: AnyRowsKey


@dataclass(frozen=True)
class RowNormsKey(NumberKey):
    """The Euclidean norm of each row."""

    rows: AnyRowsKey


@dataclass(frozen=True)
class EqualRowsKey(NumberKey):
    """The classes of equal rows."""

    rows: AnyRowsKey


@dataclass(frozen=True)
class AnisotropyKey(NumberKey):
    """The mean cosine of two rows."""

    rows: AnyRowsKey


@dataclass(frozen=True)
class DimensionKey(NumberKey):
    """The intrinsic dimension of the rows."""

    rows: AnyRowsKey


@dataclass(frozen=True)
class NeighborsKey(NumberKey):
    """The nearest neighbor of each row."""

    rows: AnyRowsKey


@dataclass(frozen=True)
class ClosestPairKey(NumberKey):
    """The closest pair of rows."""

    rows: AnyRowsKey


@dataclass(frozen=True)
class NearPairsKey(NumberKey):
    """The pairs of rows within a distance.

    Attributes:
        rows: of the layer.
        eps: the distance, in the states' units.
        limit: how many pairs are listed; all are counted.
    """

    rows: AnyRowsKey
    eps: float
    limit: int


@dataclass(frozen=True)
class RatiosKey(NumberKey):
    """The smallest or the largest ratio of state to prompt distance of each row.

    Attributes:
        rows: of the layer.
        extreme: ``smallest`` or ``largest``.
        metric: the prompt metric.
    """

    rows: AnyRowsKey
    extreme: str
    metric: str
