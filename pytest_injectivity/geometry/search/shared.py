"""Searches of tiles that workers share: each searches some of the tiles by what is known so far.

A share takes with it how far rows reach when it is handed out, and brings back what it found. So a
worker may keep candidates that another one has just ruled out; what is decided of them is the same,
because every candidate is decided by float64 subtraction, and of equals the first row is taken in any
order.
"""

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, Self, TypeAlias, TypeVar

import torch

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.resumable import RememberPart, forgetful, in_parts
from pytest_injectivity.geometry.search.sendable import Sendable

Tiles: TypeAlias = Sequence[tuple[slice, slice]]
Found = TypeVar("Found")

_SHARES = 4
"""Shares of a search for each worker, at least: the last one to end leaves the others idle."""

_GPU = 1000
"""How many times as fast as one thread a GPU multiplies, about."""


class TileSearch(Sendable, Generic[Found]):
    """A search through all pairs of rows, tile by tile."""

    products: Products

    def begin(self) -> None:
        """Looks at what makes the first tiles cheap."""

    @abstractmethod
    def look_through(self, tiles: Tiles) -> Found:
        """Searches tiles, and gives all that was found so far."""

    @abstractmethod
    def take(self, found: Found) -> None:
        """Goes on from what was found, here or by a run that was ended."""

    @abstractmethod
    def known(self) -> Any:
        """What makes the next tiles cheap, as arrays."""

    @abstractmethod
    def knowing(self, known: Any) -> Self:
        """A search of the same rows that has found nothing and knows so much."""

    @abstractmethod
    def merge(self, found: Found) -> None:
        """Adds what a share found."""

    @abstractmethod
    def found(self) -> Found:
        """All that was found so far."""


def search_tiles(
    search: TileSearch[Any],
    *,
    remember: RememberPart = forgetful,
    executor: Executor | None = None,
) -> None:
    """Looks through all tiles, in workers where that is worth it.

    Args:
        search: finds.
        remember: keeps what parts of a long search have found.
        executor: workers that may search some of the tiles; by default all is done here.
    """
    parts = list(enumerate(search.products.parts()))

    def here(part: tuple[int, Tiles]) -> Any:
        number, tiles = part
        if not number:
            search.begin()
        return search.look_through(tiles)

    if executor is None or not is_worth_sharing(search.products, executor):
        in_parts(parts, here, search.take, remember)
        return
    with closing(_Sharing(search, executor, [tiles for _, tiles in parts])) as sharing:
        in_parts(parts, sharing.look_through, search.take, remember)


def is_worth_sharing(products: Products, executor: Executor, pairs: int | None = None) -> bool:
    """Whether workers end sooner than this process, with all of its threads, alone.

    Args:
        products: of the rows.
        executor: the workers.
        pairs: how many are multiplied; None: all.
    """
    pairs = len(products) ** 2 // 2 if pairs is None else pairs
    width, device = products.rounded.shape[1], products.order.device.type
    return (
        is_large(pairs, width, device, products.limits)
        and executor.count > 1
        and executor.threads > torch.get_num_threads()
    )


def is_large(pairs: int, width: int, device: str, limits: SearchLimits) -> bool:
    """Whether a search takes so long that others may share its tiles.

    Args:
        pairs: of rows.
        width: of a row.
        device: the type of the one that multiplies.
        limits: of the search.

    Example:
        >>> is_large(20_000**2 // 2, 500, "cpu", SearchLimits())
        True
    """
    return pairs * width >= (1 if device == "cpu" else _GPU) * limits.shared_work


def divided(many: Sequence[Any], shares: int) -> Iterator[Any]:
    """About equally long runs of a sequence, none of them empty."""
    shares = min(shares, len(many))
    ends = [share * len(many) // shares for share in range(shares + 1)]
    return (many[start:end] for start, end in pairwise(ends))


def shares_of(executor: Executor, parts: int = 1) -> int:
    """How many shares each of the parts of a search has."""
    return -(-_SHARES * executor.count // parts)


@dataclass(frozen=True)
class Share:
    """What a worker does at a time.

    Attributes:
        tiles: of the search.
        known: how far rows reach.
    """

    tiles: Tiles
    known: Any


@dataclass(frozen=True)
class _Job(Sendable):
    """Searches a share."""

    search: TileSearch[Any]

    def __call__(self, share: Share) -> Any:
        """Searches it."""
        return self.search.knowing(share.known).look_through(share.tiles)


class _Sharing:
    """A search as far as workers have done its shares."""

    def __init__(self, search: TileSearch[Any], executor: Executor, parts: Sequence[Tiles]) -> None:
        self._search = search
        self._executor = executor
        many = shares_of(executor, len(parts))
        self._parts = [list(divided(part, many)) for part in parts]
        self._next = 0
        self._results: Generator[Any] | None = None

    def look_through(self, part: tuple[int, Tiles]) -> Any:
        """Waits for the shares of a part, and gives all that was found so far."""
        number, _ = part
        # A part that was taken from elsewhere may have put rows in another order.
        if self._results is None or number != self._next:
            self.close()
            self._results = self._handed_out(number)
        for _ in self._parts[number]:
            self._search.merge(next(self._results))
        self._next = number + 1
        return self._search.found()

    def _handed_out(self, number: int) -> Generator[Any]:
        if not number:
            self._search.begin()
        job = _Job(self._search.knowing(self._search.known()))
        shares = (
            Share(tiles, self._search.known()) for part in self._parts[number:] for tiles in part
        )
        return self._executor.map(job, shares)

    def close(self) -> None:
        """Ends what nobody waits for."""
        if self._results is not None:
            self._results.close()
