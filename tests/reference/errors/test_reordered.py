"""Matrices whose rows or columns changed places."""

import pytest
import torch

from pytest_injectivity.quantization.group_rounding import rounded_in_groups
from pytest_injectivity.reference.errors.reordered import reordered

EXACT = torch.randn(48, 32, generator=torch.Generator().manual_seed(0))
ROWS = torch.randperm(48, generator=torch.Generator().manual_seed(1))
COLUMNS = torch.randperm(32, generator=torch.Generator().manual_seed(1))


def test_rows_in_another_order_are_found() -> None:
    """And columns."""
    rows, columns = reordered(EXACT[ROWS], EXACT), reordered(EXACT[:, COLUMNS], EXACT)
    assert rows is not None
    assert columns is not None
    assert (("rows", 0.0), ("columns", 0.0)) == (
        (rows.side, rows.error),
        (columns.side, columns.error),
    )


@pytest.mark.parametrize(("bits", "least", "most"), [(8, 1e-3, 0.01), (4, 0.05, 0.15)])
def test_rounding_hides_no_order(bits: int, least: float, most: float) -> None:
    """Its error is left."""
    found = reordered(rounded_in_groups(EXACT[ROWS], bits), EXACT)
    assert found is not None
    assert least < found.error < most


def test_rows_of_zeros_hide_no_order() -> None:
    """Such as those of units that are off: each may be any of them."""
    exact = EXACT.clone()
    exact[::5] = 0.0
    rows, columns = reordered(exact[ROWS], exact), reordered(exact.T[:, ROWS], exact.T)
    assert rows is not None
    assert columns is not None
    assert (("rows", 0.0), ("columns", 0.0)) == (
        (rows.side, rows.error),
        (columns.side, columns.error),
    )


def test_without_as_many_rows_of_zeros_there_is_no_order() -> None:
    """Nor where there is nothing else."""
    less = EXACT[ROWS].clone()
    less[3] = 0.0
    zeros = torch.zeros_like(EXACT)
    assert [None] * 3 == [
        reordered(one, other) for one, other in ((less, EXACT), (zeros, zeros), (zeros, EXACT))
    ]


@pytest.mark.parametrize("bits", [None, 4])
def test_rows_that_are_equal_hide_no_order(bits: int | None) -> None:
    """Nor multiples of each other: which of the equal ones a row was makes no difference."""
    exact = EXACT.clone()
    exact[1:4], exact[6] = exact[0], 2.0 * exact[5]
    own = exact[ROWS] if bits is None else rounded_in_groups(exact[ROWS], bits)
    rows, columns = reordered(own, exact), reordered(own.T, exact.T)
    assert rows is not None
    assert columns is not None
    assert ("rows", "columns") == (rows.side, columns.side)
    assert rows.error < (1e-9 if bits is None else 0.15)
    assert pytest.approx(rows.error, rel=1e-5) == columns.error


def test_of_equal_rows_as_many_must_come() -> None:
    """Another number of copies is another matrix, though each row is one of the parent's."""
    exact = EXACT.clone()
    exact[1:4], exact[6:8] = exact[0], exact[5]
    own = exact.clone()
    own[3] = exact[5]
    assert reordered(own[ROWS], exact) is None


def test_a_large_matrix_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked at."""
    monkeypatch.delattr("pytest_injectivity.reference.errors.reordered.wide")
    large = torch.ones(1).expand(2**13, 2**13)
    assert reordered(large, large) is None


def test_other_matrices_are_in_no_order() -> None:
    """Of numbers of their own, with one row twice, with a NaN, or in another order of both sides."""
    twice = EXACT[ROWS].clone()
    twice[0] = twice[1]
    lost = EXACT[ROWS].clone()
    lost[5, 5] = torch.nan
    others = [
        torch.randn(48, 32, generator=torch.Generator().manual_seed(2)),
        twice,
        lost,
        EXACT[ROWS][:, COLUMNS],
        -EXACT,
    ]
    assert [None] * 5 == [reordered(one, EXACT) for one in others]
