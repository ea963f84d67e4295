import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.mahalanobis import EUCLIDEAN, MahalanobisMetric

_rows = arrays(
    np.float32,
    st.tuples(st.integers(2, 12), st.integers(1, 6)),
    # Few values, so that equal rows and equal distances are met.
    elements=st.sampled_from([-3.0, -1.0, -0.5, 0.0, 1e-3, 0.5, 1.0, 2.0]),
)


def _squared(rows: Tensor, targets: Tensor, metric: MahalanobisMetric = EUCLIDEAN) -> Tensor:
    """By subtraction in float64, one target after the other."""
    exact = rows.double()
    return torch.stack(
        [metric.whitened(target.double() - exact).square().sum(dim=1) for target in targets]
    )


def _drawn(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@given(
    _rows,
    st.sampled_from([0.0, 100.0, 1e4]),
    st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_the_nearest_are_those_of_subtraction(
    rows: np.ndarray, offset: float, noise: float, dtype: torch.dtype
) -> None:
    """Far from the origin, among equal rows and in half precision; the smallest id among equals."""
    held = (torch.from_numpy(rows) + offset).to(dtype)
    targets = held + noise * _drawn(*held.shape, seed=len(rows)).to(held)
    found = Candidates(held).nearest(targets, 2)
    expected = _squared(held, targets)
    order = expected.argsort(dim=1, stable=True)[:, :2]
    assert order.tolist() == found.tokens.tolist()
    torch.testing.assert_close(found.values, expected.gather(1, order), rtol=1e-12, atol=0.0)


@given(st.integers(0, 99), st.integers(0, 3), st.sampled_from([1e-5, 1e-2, 1.0]))
def test_the_nearest_by_mahalanobis_are_those_of_the_inverse_covariance(
    seed: int, rank: int, nu: float
) -> None:
    """Noise of few directions, up to a million times as loud as the rest."""
    noise = Noise(torch.zeros(6, dtype=torch.float64), 10 * _drawn(rank, 6, seed).double())
    if noise.is_isotropic:
        return
    rows, targets = _drawn(30, 6, seed + 1), 3 * _drawn(8, 6, seed + 2)
    inverse = torch.linalg.inv(noise.covariance(nu))
    apart = targets.double()[:, None] - rows.double()
    expected = torch.einsum("tvi,ij,tvj->tv", apart, inverse, apart).argmin(dim=1)
    found = Candidates(rows, MahalanobisMetric.of(noise, nu)).nearest(targets)
    assert expected.tolist() == found.tokens[:, 0].tolist()


@given(st.integers(0, 99), st.sampled_from([0.0, 1e-6, 1e-2, 10.0]))
def test_penalties_are_added_before_anything_is_decided(seed: int, weight: float) -> None:
    """The least sum of squared distance and penalty wins."""
    rows, targets = _drawn(40, 4, seed), _drawn(6, 4, seed + 1)
    penalties = weight * _drawn(40, 1, seed + 2)[:, 0].abs()
    sums = _squared(rows, targets) + penalties.double()
    found = Candidates(rows).scan(targets).nearest(1, penalties)
    assert sums.argmin(dim=1).tolist() == found.tokens[:, 0].tolist()
    torch.testing.assert_close(found.values[:, 0], sums.min(dim=1).values)


def test_candidates_that_are_not_finite_are_never_found() -> None:
    """Nor do they keep others from being found."""
    rows = _drawn(5, 3, 0)
    rows[1] = torch.nan
    rows[3, 0] = torch.inf
    found = Candidates(rows).nearest(rows[[0, 2, 4]], 9)
    assert [[0, 2, 4]] * 3 == found.tokens.sort(dim=1).values.tolist()
    assert [0, 2, 4] == found.tokens[:, 0].tolist()


def test_one_candidate_has_no_rival() -> None:
    """Its margin and its radius are infinite."""
    only = Candidates(torch.ones(1, 3))
    first = torch.zeros(1, dtype=torch.long)
    assert [torch.inf] == only.margins(first).tolist()
    assert [torch.inf] == only.scan(torch.zeros(1, 3)).radii(first).tolist()


@given(_rows, st.sampled_from([0.0, 1e4]), st.sampled_from([0.0, 1e-3, 3.0]))
def test_radii_are_the_least_over_all_bisectors(
    rows: np.ndarray, offset: float, noise: float
) -> None:
    """Brute force over every rival; equal images cannot be told apart at all."""
    held = torch.from_numpy(rows) + offset
    targets = held + noise * _drawn(*held.shape, seed=len(rows))
    truths = torch.arange(len(held))
    exact, rivals = targets.double(), held.double()
    expected = []
    for target, truth in zip(exact, truths.tolist(), strict=True):
        over = (target - rivals).square().sum(dim=1) - (target - rivals[truth]).square().sum()
        apart = (rivals - rivals[truth]).norm(dim=1)
        crossings = torch.where(apart > 0, over / (2 * apart), 0.0)
        expected.append(min(c for at, c in enumerate(crossings.tolist()) if at != truth))
    found = Candidates(held).scan(targets).radii(truths)
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_move_past_the_radius_changes_the_nearest_and_none_within_it_does(seed: int) -> None:
    """The worst direction is towards the rival; within the radius no direction will do."""
    rows, truths = _drawn(30, 4, seed), torch.arange(30)
    targets = rows + 0.1 * _drawn(30, 4, seed + 1)
    candidates = Candidates(rows)
    radii = candidates.scan(targets).radii(truths)
    right = candidates.nearest(targets).tokens[:, 0] == truths
    assert (right == (radii > 0)).all()
    kept = right.nonzero()[:, 0]
    for one in kept.tolist():
        over = (targets[one] - rows).square().sum(dim=1) - (targets[one] - rows[one]).square().sum()
        apart = (rows - rows[one]).norm(dim=1)
        crossings = torch.where(truths == one, torch.inf, over / (2 * apart))
        rival = int(crossings.argmin())
        towards = (rows[rival] - rows[one]) / apart[rival]
        moved = torch.stack(
            [targets[one] + float(radii[one]) * share * towards for share in (0.999, 1.001)]
        )
        assert [one, rival] == candidates.nearest(moved).tokens[:, 0].tolist()
        within = torch.nn.functional.normalize(_drawn(50, 4, one), dim=1)
        still = candidates.nearest(targets[one] + 0.999 * float(radii[one]) * within)
        assert (still.tokens[:, 0] == one).all()


@given(_rows)
def test_margins_are_distances_to_the_nearest_rival(rows: np.ndarray) -> None:
    """Zero where another row is equal."""
    held = torch.from_numpy(rows)
    squared = _squared(held, held)
    squared.fill_diagonal_(torch.inf)
    found = Candidates(held).margins(torch.arange(len(held)))
    torch.testing.assert_close(found, squared.min(dim=1).values.sqrt())


def test_distances_to_one_candidate_each() -> None:
    """In float64, from rows of either precision."""
    rows, targets = _drawn(4, 3, 0), _drawn(2, 3, 1)
    found = Candidates(rows).away(targets, torch.tensor([3, 1]))
    expected = (targets.double() - rows[[3, 1]].double()).norm(dim=1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("block_elements", [1, 30, 95])
def test_blocks_change_no_answer(block_elements: int) -> None:
    """Nearest candidates, with penalties, margins and radii, of more rows than are compared at once."""
    rows, targets, penalties = _drawn(30, 6, 1), _drawn(17, 6, 2), _drawn(30, 1, 3)[:, 0].abs()
    truths = torch.arange(17) % 5
    whole, blocked = Candidates(rows), Candidates(rows, block_elements=block_elements)
    assert blocked.together < 17
    for count in (1, 2):
        expected = whole.scan(targets).nearest(count, penalties)
        found = blocked.scan(targets).nearest(count, penalties)
        assert torch.equal(expected.tokens, found.tokens)
        assert torch.equal(expected.values, found.values)
    assert torch.equal(whole.margins(truths), blocked.margins(truths))
    assert torch.equal(whole.scan(targets).radii(truths), blocked.scan(targets).radii(truths))


@given(
    _rows,
    st.sampled_from([0.0, 100.0, 1e4]),
    st.sampled_from([0.0, 1e-6, 1.0]),
    st.sampled_from([None, 1.0]),
)
def test_the_place_of_a_token_is_that_of_a_full_sort(
    rows: np.ndarray, offset: float, noise: float, penalty: float | None
) -> None:
    """Among equal rows too, and with a number added to each distance; equal ones by id."""
    held = torch.from_numpy(rows) + offset
    targets = held + noise * _drawn(*held.shape, seed=len(rows))
    penalties = penalty if penalty is None else _drawn(1, len(rows), 7)[0].abs().round()
    expected = _squared(held, targets) + (0.0 if penalties is None else penalties.double())
    order = expected.argsort(dim=1, stable=True).tolist()
    own = torch.arange(len(rows)).flip(0)
    found = Candidates(held).scan(targets).ranks(own, penalties)
    assert [1 + one.index(token) for one, token in zip(order, own.tolist(), strict=True)] == (
        found.tolist()
    )


def test_a_token_that_is_not_among_the_candidates_comes_last() -> None:
    """Of some tokens alone, and of padding."""
    rows, some = _drawn(4, 3, 0), torch.tensor([2, 5, 8, 9])
    scan = Candidates(rows, tokens=some).scan(rows)
    assert [1, 5, 5, 1] == scan.ranks(torch.tensor([2, 3, 10, 9])).tolist()
    named = torch.tensor([True, False, True, True])
    scan = Candidates(rows, named=named).scan(rows[:2])
    assert [1, 4] == scan.ranks(torch.tensor([0, 1])).tolist()
