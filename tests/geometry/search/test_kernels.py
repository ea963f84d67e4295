"""The dtype of products: measured once, float32 where another fails, and no answer hangs on it."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry.search import products
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.geometry.search.kernels import (
    Rate,
    chosen,
    fastest,
    kernel_for,
    measured,
    rate_of,
)
from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.near_pairs import pairs_within
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from tests.adversaries import FEW_KINDS, KINDS, any_rows, draw_rows
from tests.repetitions import mostly_slow

CPU = torch.device("cpu")
# Those that are not chosen for so few rows.
DTYPES = (torch.bfloat16, torch.float64)


def answers(rows: Tensor, limits: SearchLimits) -> list[np.ndarray]:
    """What every search says of the rows, as arrays."""
    nearest = k_nearest(rows, min(3, len(rows) - 1), limits=limits)
    closest = closest_pair(rows, limits=limits)
    near = pairs_within(rows, float(np.median(nearest.distance)), limits=limits)
    ids = [[at % 3] * (1 + at % 7) + [at] for at in range(len(rows))]
    metric = PairDistances(PromptMetric.LEVENSHTEIN, ids)
    found = [nearest.distance, nearest.index, near.left, near.right, near.distance]
    found += [np.array([closest.distance, closest.left, closest.right, near.count])]
    for ratios in (
        extreme_ratios(rows, metric, "smallest", limits=limits),
        extreme_ratios(rows, metric, "largest", limits=limits),
    ):
        found += [ratios.ratio, ratios.partner]
    return found


def assert_no_answer_hangs_on_the_kernel(rows: Tensor, limits: SearchLimits) -> None:
    """Every dtype of products gives the answers of the kernel that is chosen, to the bit."""
    expected = answers(rows, limits)
    assert expected
    for dtype in DTYPES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(products, "kernel_for", lambda *_, dtype=dtype: dtype)
            found = answers(rows, limits)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


@given(rows=any_rows(), tile=st.sampled_from([32, 64, 1024]))
def test_no_answer_hangs_on_the_kernel(rows: Tensor, tile: int) -> None:
    """Of rows of every kind, shape and dtype, in tiles of every size."""
    assert_no_answer_hangs_on_the_kernel(rows, SearchLimits(tile_rows=tile, tile_columns=tile))


@pytest.mark.parametrize("kind", mostly_slow(sorted(KINDS), *FEW_KINDS))
def test_no_answer_about_adversarial_rows_hangs_on_the_kernel(kind: str) -> None:
    """Wide rows of each kind, in several tiles."""
    limits = SearchLimits(tile_rows=64, tile_columns=64, few_rows=100, few_pairs=0)
    assert_no_answer_hangs_on_the_kernel(draw_rows(kind, 110, 200), limits)


def test_the_choice_is_remembered() -> None:
    """A process measures once for a number of threads: both times the same object answers."""
    threads = torch.get_num_threads()
    assert measured(threads) is measured(threads)
    assert chosen() in measured(threads)


def test_both_dtypes_are_measured() -> None:
    """Float32 is what the other one is compared with, so it comes first and works everywhere."""
    plain, other = measured(torch.get_num_threads())
    assert (torch.float32, torch.bfloat16) == (plain.dtype, other.dtype)
    assert 0 < plain.gflops


@pytest.mark.parametrize(
    ("bfloat16", "dtype"),
    [(0.0, torch.float32), (110.0, torch.float32), (200.0, torch.bfloat16)],
)
def test_bfloat16_is_taken_where_it_is_much_faster(bfloat16: float, dtype: torch.dtype) -> None:
    """It leaves more pairs to be looked at than float32, and where it failed its rate is 0."""
    rates = (Rate(torch.float32, 100.0), Rate(torch.bfloat16, bfloat16))
    assert dtype == fastest(rates).dtype


def test_float32_is_taken_where_nothing_could_be_measured() -> None:
    """Not even float32 itself, as where the clock stands still."""
    assert torch.float32 == fastest((Rate(torch.float32, 0.0), Rate(torch.bfloat16, 0.0))).dtype
    assert torch.float32 == fastest((Rate(torch.float32, 0.0),)).dtype


def test_a_dtype_that_cannot_be_multiplied_has_no_rate() -> None:
    """An integer cannot hold what a product gives, and the error is not the user's."""
    assert rate_of(torch.bits8).gflops == 0


def test_the_rate_is_that_of_the_fastest_tile_but_the_first() -> None:
    """The first one compiles the kernel: it is not counted, however fast the clock says it was."""
    ticks: Iterator[float] = iter([0.0, 0.001, 1.0, 1.5, 2.0, 2.25, 3.0, 4.0])
    found = rate_of(torch.float32, lambda: next(ticks))
    assert found.gflops == pytest.approx(2e-9 * 1024 * 2048 * 256 / 0.25)


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    """Rather than a division by zero."""
    assert rate_of(torch.float32, lambda: 0.0) == Rate(torch.float32, 0.0)


def test_few_rows_are_multiplied_in_float32_unmeasured() -> None:
    """Their products take less time than the measurement."""
    before = measured.cache_info()
    assert torch.float32 == kernel_for(1000, 768, CPU)
    assert before == measured.cache_info()


def test_many_rows_take_the_kernel_measured() -> None:
    """Whichever this machine's is."""
    assert chosen().dtype == kernel_for(20_000, 768, CPU)


@pytest.mark.parametrize("n", [2, 10**6])
def test_a_gpu_gets_bfloat16(n: int) -> None:
    """Every GPU that torch supports multiplies it."""
    assert torch.bfloat16 == kernel_for(n, 768, torch.device("cuda"))
