"""Nearest neighbors: the distance of float64 subtraction, and the first row that attains it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.neighbors import Neighbors, k_nearest, nearest_neighbors
from pytest_injectivity.geometry.search.resumable import SearchPart
from tests import brute_force
from tests.adversaries import DTYPES, FEW_KINDS, KINDS, SEEDS, Kept, any_rows, draw_rows, exact_rows
from tests.repetitions import mostly_slow


def assert_nearest(rows: Tensor, found: Neighbors) -> None:
    """The distances are the reference's, and each index attains its distance."""
    distance, _ = brute_force.nearest(rows)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-14)
    attained = brute_force.distances(rows)[np.arange(len(rows)), found.index]
    np.testing.assert_allclose(attained, distance, rtol=1e-14)
    assert not (found.index == np.arange(len(rows))).any()


@given(rows=any_rows())
def test_any_rows_have_the_neighbors_of_the_reference(rows: Tensor) -> None:
    """Of every kind, shape and dtype."""
    assert_nearest(rows, nearest_neighbors(rows))


@given(rows=exact_rows())
def test_ties_name_the_first_row(rows: Tensor) -> None:
    """Where distances are exact, index and distance are the reference's bit for bit."""
    distance, index = brute_force.nearest(rows)
    found = nearest_neighbors(rows)
    np.testing.assert_array_equal(found.distance, distance)
    np.testing.assert_array_equal(found.index, index)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_many_rows_of_a_kind(kind: str, dtype: torch.dtype) -> None:
    """Far more rows than candidates are proposed."""
    rows = draw_rows(kind, 120, 12, dtype)
    assert_nearest(rows, nearest_neighbors(rows))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_wide_rows_of_a_kind(kind: str) -> None:
    """At a width where float32 products have lost two digits."""
    rows = draw_rows(kind, 40, 1200)
    assert_nearest(rows, nearest_neighbors(rows))


@pytest.mark.parametrize("kind", mostly_slow(sorted(KINDS), *FEW_KINDS))
@pytest.mark.parametrize("block", [100, 500])
@pytest.mark.parametrize(("tile", "candidates"), [((64, 64), 512), ((64, 192), 1), ((128, 64), 20)])
def test_block_and_tile_sizes_and_candidates_change_nothing(
    kind: str, block: int, tile: tuple[int, int], candidates: int
) -> None:
    """Neither distance nor index, to the bit."""
    rows = draw_rows(kind, 150, 5)
    expected = k_nearest(rows, 3)
    limits = SearchLimits(
        tile_rows=tile[0],
        tile_columns=tile[1],
        chunk_elements=20 * block,
        sample=7,
        held=200,
        candidates=candidates,
        again_elements=1000,
    )
    found = k_nearest(rows, 3, limits=limits)
    np.testing.assert_array_equal(expected.distance, found.distance)
    np.testing.assert_array_equal(expected.index, found.index)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    """Neither distance nor index, to the bit."""
    rows = draw_rows("gaussian", 3000, 40)
    expected = k_nearest(rows, 4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = k_nearest(rows, 4)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(expected.distance, found.distance)
    np.testing.assert_array_equal(expected.index, found.index)


@given(rows=any_rows(), k=st.integers(1, 6))
def test_any_rows_have_the_k_nearest_of_the_reference(rows: Tensor, k: int) -> None:
    """Of every kind, shape and dtype; each index attains its distance, and none comes twice."""
    k = min(k, len(rows) - 1)
    found = k_nearest(rows, k)
    apart = brute_force.distances(rows)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(found.distance, np.sort(apart, axis=1)[:, :k], rtol=1e-14)
    attained = np.take_along_axis(apart, found.index, axis=1)
    np.testing.assert_allclose(attained, found.distance, rtol=1e-14)
    assert all(len(set(row)) == k for row in found.index.tolist())


@given(rows=exact_rows(), k=st.integers(1, 6))
def test_ties_name_the_first_rows(rows: Tensor, k: int) -> None:
    """Where distances are exact, the k nearest are the reference's bit for bit."""
    k = min(k, len(rows) - 1)
    apart = brute_force.distances(rows)
    np.fill_diagonal(apart, np.inf)
    expected = np.argsort(apart, axis=1, kind="stable")[:, :k]
    found = k_nearest(rows, k)
    np.testing.assert_array_equal(found.index, expected)
    np.testing.assert_array_equal(found.distance, np.take_along_axis(apart, expected, axis=1))


@pytest.mark.parametrize("norm", [1.0, 100.0, 1000.0])
def test_planted_near_duplicates_are_found_at_any_norm(norm: float) -> None:
    """1e-3 to 1e-7 apart in a coordinate of magnitude at most 1, beside rows of any norm."""
    rows = draw_rows("gaussian", 400, 96)
    rows *= norm / rows.norm(dim=1, keepdim=True)
    rows[:, 0] = torch.linspace(-0.9, 0.9, 400)
    for at, apart in enumerate((1e-3, 1e-4, 1e-5, 1e-6, 1e-7)):
        rows[390 + at] = rows[at]
        rows[390 + at, 0] += apart
    found = nearest_neighbors(rows)
    assert list(range(390, 395)) == found.index[:5].tolist()
    assert_nearest(rows, found)


def test_more_neighbors_than_rows_is_wrong_use() -> None:
    """The message says how many there may be."""
    with pytest.raises(OptionError, match=r"k=3 nearest of 3 rows: give 1 to 2"):
        k_nearest(torch.eye(3), 3)


@given(rows=any_rows(), seed=SEEDS)
def test_prompt_order_does_not_matter(rows: Tensor, seed: int) -> None:
    """Shuffled rows have the same distances, to the bit."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    shuffled = nearest_neighbors(rows[order])
    np.testing.assert_array_equal(nearest_neighbors(rows).distance[order], shuffled.distance)


@given(rows=any_rows(), power=st.integers(-8, 8))
def test_scaling_by_a_power_of_two_is_exact(rows: Tensor, power: int) -> None:
    """Distances scale to the bit and indexes stay, in float64, where nothing overflows."""
    rows = rows.double()
    plain, scaled = nearest_neighbors(rows), nearest_neighbors(rows * 2.0**power)
    np.testing.assert_array_equal(plain.distance * 2.0**power, scaled.distance)
    np.testing.assert_array_equal(plain.index, scaled.index)


@given(seed=SEEDS, d=st.integers(1, 12))
def test_rotation_changes_rounding_only(seed: int, d: int) -> None:
    """Distances are those of the space, not of its coordinates."""
    rows = draw_rows("gaussian", 25, d, torch.float64, seed)
    rotation, _ = torch.linalg.qr(draw_rows("gaussian", d, d, torch.float64, seed + 1))
    np.testing.assert_allclose(
        nearest_neighbors(rows @ rotation).distance, nearest_neighbors(rows).distance, rtol=1e-11
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_two_rows_are_each_others_neighbor(dtype: torch.dtype) -> None:
    """The smallest set there is, at the smallest width."""
    found = nearest_neighbors(torch.tensor([[1.0], [3.0]], dtype=dtype))
    assert [2.0, 2.0] == found.distance.tolist()
    assert [1, 0] == found.index.tolist()


def test_rows_all_equal_are_at_distance_zero() -> None:
    """The first row's neighbor is the second, every other row's is the first."""
    found = nearest_neighbors(torch.full((4, 3), 7.5))
    assert [0.0] * 4 == found.distance.tolist()
    assert [1, 0, 0, 0] == found.index.tolist()


def test_a_neighbor_nearer_than_float32_products_can_see() -> None:
    """1e-5 apart at norm 1000: the products' error is a thousand times that."""
    rows = draw_rows("norm 1e3", 50, 64)
    rows[31] = rows[4]
    rows[31, 0] += 1e-5 + rows[4, 0].abs() * 2**-22
    found = nearest_neighbors(rows)
    assert (31, 4) == (found.index[4], found.index[31])
    assert_nearest(rows, found)


def test_a_cluster_larger_than_the_list_of_candidates() -> None:
    """Fifty rows closer to each other than float32 products can tell apart."""
    rows = draw_rows("gaussian", 90, 32, torch.float64)
    rows[20:70] = rows[20] + 1e-9 * rows[20:70]
    found = nearest_neighbors(rows)
    assert_nearest(rows, found)


def test_a_cluster_larger_than_a_row_may_hold_is_searched_again() -> None:
    """Six hundred rows closer to each other than any but float64 products can tell apart."""
    rows = draw_rows("gaussian", 700, 8, torch.float64)
    rows[20:620] = rows[20] + 1e-9 * rows[20:620]
    found = nearest_neighbors(rows)
    assert_nearest(rows, found)
    assert found.searched_again == 600


def test_rows_well_apart_are_not_searched_again() -> None:
    """The candidates' proof holds on ordinary rows: the search stays fast."""
    assert nearest_neighbors(draw_rows("gaussian", 500, 64)).searched_again == 0
    assert nearest_neighbors(draw_rows("offset 1e3", 500, 64)).searched_again == 0


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_faster_product_set_by_the_user_changes_nothing(precision: str) -> None:
    """TF32 or bfloat16 products, where the machine has them."""
    rows = draw_rows("gaussian", 300, 64)
    expected = nearest_neighbors(rows)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        found = nearest_neighbors(rows)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(expected.distance, found.distance)
    np.testing.assert_array_equal(expected.index, found.index)


def test_classes_given_are_those_used() -> None:
    """Rows that codes call equal are at distance 0, whatever their values say."""
    rows = torch.tensor([[0.0], [1.0], [5.0]])
    equal = EqualRows(np.array([0, 1, 0]))
    found = nearest_neighbors(rows, equal)
    assert [0.0, 1.0, 0.0] == found.distance.tolist()
    assert [2, 0, 0] == found.index.tolist()


@pytest.mark.parametrize("k", [1, 3])
def test_a_search_goes_on_from_the_parts_that_are_remembered(k: int) -> None:
    """Ended after two parts and begun anew, it makes only the others and finds the same."""
    rows = draw_rows("gaussian", 400, 5)
    whole = k_nearest(rows, k, limits=SearchLimits(tile_rows=64))
    parts = SearchLimits(tile_rows=64, part_pairs=len(rows) ** 2 // 8)
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        k_nearest(rows, k, remember=kept.until(2), limits=parts)
    # What was found stands in the order it was found in, whatever order the rows would have now.
    found = k_nearest(rows, k, remember=kept, limits=replace(parts, sample=128))
    assert [SearchPart(part, 5) for part in range(1, 6)] == list(kept.made)
    np.testing.assert_array_equal(found.distance, whole.distance)
    np.testing.assert_array_equal(found.index, whole.index)
