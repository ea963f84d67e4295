"""Approximate nearest neighbors for sets too large to look at all pairs, with their recall estimated.

An inverted file (faiss, IndexIVFFlat) searches a few cells of rows around each row. It may miss the
nearest row, but the row it finds is another row of the set: its distance, computed by float64
subtraction, is an upper bound of ``r_i``, and margins made of such distances are upper bounds too.
The recall, how often the row found is the nearest one, is counted on a sample whose exact
neighbors are searched among all rows.
"""

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Float, Float32, Int64
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.neighbors import (
    NearestRows,
    Neighbors,
    Recall,
    nearest_neighbors,
    search_some,
    with_equal_rows,
)
from pytest_injectivity.geometry.search.products import center
from pytest_injectivity.geometry.search.ranking import first_k
from pytest_injectivity.geometry.search.resumable import RememberPart, forgetful

EXACT_ROWS = 500_000
"""Rows up to which all pairs are looked at; where the index becomes faster depends on the machine."""

_CANDIDATES = 4
_TRAINED_PER_CELL = 40
_QUERIES = 2**16


def neighbors_of(
    rows: Float[Tensor, "n hidden"],
    equal: EqualRows,
    *,
    remember: RememberPart = forgetful,
    executor: Executor | None = None,
    limits: SearchLimits = DEFAULT_LIMITS,
    exact_rows: int | None = None,
) -> Neighbors:
    """Exact neighbors of up to so many rows, those of an index beyond.

    Args:
        rows: finite rows.
        equal: their classes of equal rows.
        remember: keeps what parts of a long search have found.
        executor: workers that a large exact search is shared among.
        limits: sizes of what an exact search holds at once.
        exact_rows: how many; None: `EXACT_ROWS`.
    """
    if len(rows) <= (EXACT_ROWS if exact_rows is None else exact_rows):
        return nearest_neighbors(rows, equal, remember=remember, executor=executor, limits=limits)
    return approximate_neighbors(rows, equal)


def approximate_neighbors(
    rows: Float[Tensor, "n hidden"],
    equal: EqualRows | None = None,
    *,
    seed: int = 0,
    probed_cells: int = 32,
    recall_sample: int = 1000,
) -> Neighbors:
    """A near row of each row, its distance an upper bound of ``r_i``, with the recall estimated.

    Args:
        rows: finite rows; distinct ones among them are at least two.
        equal: the classes of equal rows, where the caller has them.
        seed: draws the index's cells and the sample that recall is estimated on.
        probed_cells: cells of the index around each row that are searched.
        recall_sample: rows whose exact neighbor is searched.
    """
    equal = equal or EqualRows.of(rows)
    kept = torch.from_numpy(equal.representatives).to(rows.device)
    distinct = rows if len(kept) == len(rows) else rows[kept]
    candidates = _candidates(_centered(distinct), seed, probed_cells)
    left = torch.arange(len(distinct)).repeat_interleave(candidates.shape[1])
    right = torch.from_numpy(candidates).flatten()
    # faiss fills up with -1 where the cells hold too few rows; a row is not its own neighbor.
    usable = (right >= 0) & (right != left)
    left, right = left[usable].to(rows.device), right[usable].to(rows.device)
    exact = pair_distances(distinct, left, right)
    distance, index = first_k(left, right, exact, len(distinct), 1)
    alone = (index[:, 0] < 0).nonzero()[:, 0]
    if len(alone):
        distance[alone], index[alone] = search_some(distinct, alone, 1)
    found = NearestRows(distance.cpu().numpy(), index.cpu().numpy(), 0)
    nearest = with_equal_rows(found, equal, 1)
    recall = _recall(distinct, distance, seed, recall_sample)
    return Neighbors(nearest.distance[:, 0], nearest.index[:, 0], 0, recall)


def _candidates(
    rows: Float32[np.ndarray, "n hidden"], seed: int, probed_cells: int
) -> Int64[np.ndarray, "n c"]:
    """The rows that the cells around each row hold nearest, the row itself among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # faiss before 1.10 imports numpy by a name of old
        import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    n, width = rows.shape
    cells = max(1, min(int(4 * math.sqrt(n)), n // _TRAINED_PER_CELL))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, cells)
    index.cp.seed = seed
    index.cp.max_points_per_centroid = _TRAINED_PER_CELL
    index.nprobe = min(probed_cells, cells)
    index.train(rows)
    index.add(rows)
    found = [
        index.search(rows[start : start + _QUERIES], min(_CANDIDATES, n))[1]
        for start in range(0, n, _QUERIES)
    ]
    return np.concatenate(found)


def _centered(rows: Float[Tensor, "n hidden"]) -> Float32[np.ndarray, "n hidden"]:
    """Rows about their mean, scaled: an offset would eat the digits, and squares must not overflow."""
    mean, scale = center(rows)
    centered = np.empty(tuple(rows.shape), dtype=np.float32)
    for start in range(0, len(rows), _QUERIES):
        part = (rows[start : start + _QUERIES].double() - mean) / scale
        centered[start : start + _QUERIES] = part.cpu().numpy()
    return centered


def _recall(
    rows: Float[Tensor, "n hidden"], distance: Tensor, seed: int, sample_size: int
) -> Recall:
    """How many of a sample of rows were given a nearest row."""
    generator = torch.Generator().manual_seed(seed)
    size = min(sample_size, len(rows))
    sample = torch.randperm(len(rows), generator=generator)[:size].to(rows.device)
    exact, _ = search_some(rows, sample, 1, torch.float32)
    return Recall(int((distance[sample, 0] <= exact[:, 0]).sum()), size)
