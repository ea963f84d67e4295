"""Parts that run side by side, whose results are given in the order of the parts."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

Part = TypeVar("Part")
Done = TypeVar("Done")

# Parts for each place that are under way or done while the first of them is waited for.
_AHEAD = 2


def in_order(
    begin: Callable[[Part], Future[Done]], parts: Iterable[Part], places: int
) -> Generator[Done]:
    """Begins parts and gives their results in the parts' order, with two parts a place begun at most.

    Where no more results are taken, or one is an error, parts that have not begun to run are cancelled.

    Args:
        begin: begins a part.
        parts: taken as there is room for them.
        places: how many parts run side by side.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(2) as threads:
        ...     list(in_order(lambda part: threads.submit(abs, part), [-3, 1, -2], 2))
        [3, 1, 2]
    """
    begun: deque[Future[Done]] = deque()
    try:
        for part in parts:
            if len(begun) == places * _AHEAD:
                yield begun.popleft().result()
            begun.append(begin(part))
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
