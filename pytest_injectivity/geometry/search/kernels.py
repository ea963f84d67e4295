"""Which dtype rows are multiplied in, chosen by multiplying a tile in each.

The rate of a product hangs on the processor, on the library that torch was built with and on what is
allowed by the environment, which no flag of the processor tells: a processor without a matrix unit may
still multiply bfloat16 faster than float32. The answers of a search are the same to the last bit
whatever is chosen, because products rule pairs out and decide none (`products`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from pytest_injectivity.geometry.search.precision import precision_of

_TILE = (1024, 2048, 256)
_RUNS = 3
# Rounding to bfloat16 leaves more pairs to be looked at: where it is hardly faster, it is slower.
_WORTH = 1.3
_WORTH_MEASURING = 2**32

Clock = Callable[[], float]


@dataclass(frozen=True)
class Rate:
    """How fast tiles are multiplied.

    Attributes:
        dtype: what rows are rounded to.
        gflops: 10^9 floating-point operations a second, the best of a few tiles; 0 where it failed.
    """

    dtype: torch.dtype
    gflops: float


def kernel_for(n: int, width: int, device: torch.device) -> torch.dtype:
    """What to round rows to, so that products of all their pairs take the least time.

    Args:
        n: how many rows there are.
        width: how wide they are.
        device: where they are: every GPU multiplies bfloat16 fastest.
    """
    if device.type != "cpu":
        return torch.bfloat16
    # Measuring takes longer than so few operations.
    return chosen().dtype if n * n * width >= _WORTH_MEASURING else torch.float32


def chosen() -> Rate:
    """The kernel of products on this machine's processor, measured once a process and thread count."""
    return fastest(measured(torch.get_num_threads()))


def fastest(rates: tuple[Rate, ...]) -> Rate:
    """The one to be taken: bfloat16 where it is faster by more than its pairs cost."""
    plain, *others = rates
    best = max(others, key=lambda rate: rate.gflops, default=plain)
    return best if best.gflops > _WORTH * plain.gflops else plain


@cache
def measured(threads: int) -> tuple[Rate, ...]:  # noqa: ARG001 - a rate is one of a number of threads
    """The rates of float32 and of bfloat16 on the processor, in 50 to 100 ms.

    Args:
        threads: how many torch uses now.
    """
    return tuple(rate_of(dtype) for dtype in (torch.float32, torch.bfloat16))


def rate_of(dtype: torch.dtype, clock: Clock = time.perf_counter) -> Rate:
    """Multiply a few tiles of rows rounded to a dtype.

    Args:
        dtype: that of the rounded rows.
        clock: gives seconds.

    Returns:
        The rate of the fastest; 0 where torch cannot multiply this dtype here.
    """
    height, width, depth = _TILE
    generator = torch.Generator().manual_seed(0)
    try:
        left = torch.randn(height, depth, generator=generator).to(dtype)
        right = torch.randn(width, depth, generator=generator).to(dtype)
        tile = torch.empty(height, width)
        squares = torch.zeros(width)
        seconds = []
        # One more: the first one compiles the kernel and takes the memory.
        for _ in range(1 + _RUNS):
            start = clock()
            with precision_of(dtype):
                torch.addmm(squares, left.float(), right.float().T, alpha=-2, out=tile)
            seconds.append(clock() - start)
    except (RuntimeError, TypeError):
        return Rate(dtype, 0.0)
    taken = min(seconds[1:])
    return Rate(dtype, 2e-9 * height * width * depth / taken if taken > 0 else 0.0)
