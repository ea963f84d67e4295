"""Distances in units of each coordinate's resolution."""

import numpy as np
import pytest
import torch

from pytest_injectivity.states.scaled import Scale, Scales


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_lengths_are_those_of_a_loop(dtype: torch.dtype) -> None:
    """Each coordinate over its resolution, in float64."""
    rows = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    sigma = np.linspace(0.1, 2.0, 7)
    found = Scale(sigma).norms(rows)
    expected = [
        sum((float(value) / unit) ** 2 for value, unit in zip(row, sigma, strict=True)) ** 0.5
        for row in rows
    ]
    assert expected == pytest.approx(found.tolist(), rel=1e-12)
    assert torch.float64 == found.dtype


@pytest.mark.parametrize(
    ("dtype", "searched"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float64),
        (torch.float64, torch.float64),
    ],
)
def test_searched_rows_hold_more_digits_than_the_states(
    dtype: torch.dtype, searched: torch.dtype
) -> None:
    """A float32 state over its rounding has as many digits as float32 itself."""
    assert searched == Scale(np.ones(3)).searchable(torch.ones(2, 3, dtype=dtype)).dtype


def test_a_joined_scale_is_the_coarser_of_each_coordinate() -> None:
    """Either way round."""
    one, other = Scale(np.array([1.0, 5.0])), Scale(np.array([2.0, 3.0]))
    assert [2.0, 5.0] == one.joined(other).values.tolist() == other.joined(one).values.tolist()


def test_position_0_has_its_own() -> None:
    """Every other position has the later one."""
    scales = Scales(Scale(np.ones(1)), Scale(np.zeros(1) + 2))
    assert [scales.first, scales.later, scales.later] == [scales.at(at) for at in (0, 1, 9)]
