import math

import pytest
import torch

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.dimension import anisotropy, intrinsic_dimension


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    """By the square of a sum, as by every pair."""
    rows = torch.randn(40, 7, generator=torch.Generator().manual_seed(0)) + 0.5
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    pairs = (unit @ unit.T)[torch.triu(torch.ones(40, 40), 1).bool()]
    assert float(pairs.mean()) == pytest.approx(anisotropy(rows), abs=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_a_flat_has_its_dimension(dimension: int) -> None:
    """Whatever the width it lies in."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(600, dimension, generator=draw) @ torch.randn(dimension, 32, generator=draw)
    assert dimension == pytest.approx(intrinsic_dimension(rows), rel=0.15)


def test_equal_rows_count_once() -> None:
    """They have no neighbor at a distance."""
    rows = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert intrinsic_dimension(torch.cat([rows, rows])) == intrinsic_dimension(rows)


@pytest.mark.parametrize(
    "rows", [torch.ones(1, 3), torch.zeros(3, 3), torch.full((3, 3), torch.nan)]
)
def test_rows_without_a_direction_have_no_anisotropy(rows: torch.Tensor) -> None:
    """The message says what is accepted."""
    with pytest.raises(OptionError, match="give two or more, finite and not zero"):
        anisotropy(rows)


def test_too_few_rows_have_no_dimension() -> None:
    """Three are needed, and equal ones are one."""
    with pytest.raises(OptionError, match="the intrinsic dimension of 1 different rows: give 3"):
        intrinsic_dimension(torch.ones(5, 3))


def test_a_lattice_has_no_dimension() -> None:
    """Each row's two nearest neighbors are equally far."""
    with pytest.raises(OptionError, match="whose two nearest neighbors are equally far"):
        intrinsic_dimension(torch.eye(5))


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_rows_that_are_not_finite_have_no_dimension(lost: float) -> None:
    """Whatever else is wrong with them, that is what the message names."""
    with pytest.raises(OptionError, match="9 rows, 9 of them not finite"):
        intrinsic_dimension(torch.full((9, 3), lost))


@pytest.mark.parametrize("size", [1e200, 1e-200, 2.0**900])
def test_the_size_of_rows_changes_neither_number(size: float) -> None:
    """Their squares are no numbers."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 3, dtype=torch.float64, generator=draw)
    assert anisotropy(rows) == pytest.approx(anisotropy(rows * size), rel=1e-9)
    assert intrinsic_dimension(rows) == pytest.approx(intrinsic_dimension(rows * size), rel=1e-6)


def test_equal_rows_are_pairs_of_anisotropy() -> None:
    """Two of three pairs of rows are at a right angle, the third is of equal ones."""
    assert 1 / 3 == pytest.approx(anisotropy(torch.eye(3)[[0, 0, 1]]), abs=1e-12)
