"""The extremes that scales are made of: exact in parts, whatever the parts and their order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.quantization.arithmetic import Extremes, scale_of
from pytest_injectivity.quantization.grid import Grid
from tests.adversaries import SEEDS, any_rows

STATIC = st.builds(
    Grid,
    bits=st.integers(2, 9),
    symmetric=st.booleans(),
    clip=st.sampled_from([None, 50.0, 80.0, 99.0]),
    per=st.sampled_from(["layer", "channel"]),
)


@given(rows=any_rows(), grid=STATIC, seed=SEEDS, parts=st.integers(1, 5))
def test_parts_give_the_scale_of_the_whole(rows: Tensor, grid: Grid, seed: int, parts: int) -> None:
    """Bit for bit, the parts drawn at random and in any order."""
    n, hidden = rows.shape
    expected = scale_of(rows, grid)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    extremes = Extremes(grid, n if grid.per == "channel" else n * hidden)
    for part in rows[order].chunk(parts):
        extremes.add(part)
    found = extremes.scale()
    assert expected.step.equal(found.step)
    assert expected.zero.equal(found.zero)


@given(rows=any_rows(), grid=STATIC)
def test_one_scale_for_the_layer_or_one_a_channel(rows: Tensor, grid: Grid) -> None:
    """In double precision, never negative; the zero point is one of the codes."""
    scale = scale_of(rows, grid)
    shape = (1, rows.shape[1] if grid.per == "channel" else 1)
    assert shape == tuple(scale.step.shape) == tuple(scale.zero.shape)
    assert torch.float64 == scale.step.dtype
    assert bool((scale.step >= 0).all())
    low, high = grid.ends
    assert bool(((scale.zero >= low) & (scale.zero <= high)).all())
    assert bool((scale.zero == scale.zero.round()).all())


@given(exponents=st.lists(st.integers(-30, 20), min_size=1, max_size=40), seed=SEEDS)
@pytest.mark.parametrize("name", ["e4m3", "e5m2"])
def test_floats_are_those_of_torch(name: str, exponents: list[int], seed: int) -> None:
    """Of every size, from far below the smallest to the largest, half to even."""
    dtype = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}[name]
    most = torch.finfo(dtype).max
    drawn = torch.randn(len(exponents), generator=torch.Generator().manual_seed(seed))
    # Halves between neighbors among them; the largest makes the scale 1.
    halves = (drawn * 16).round() / 16
    rows = torch.cat(
        [
            torch.tensor([most]),
            *(torch.ldexp(one, torch.tensor(exponents)) for one in (drawn, halves)),
        ]
    ).clamp(-most, most)[None]
    scale = scale_of(rows, Grid.parse(name))
    codes = scale.codes(rows)
    assert rows.to(dtype).double().equal(scale.values(codes))
    assert codes.long().double().equal(codes)


@given(rows=any_rows(), name=st.sampled_from(["e4m3 per-token", "e5m2 per-channel", "e4m3"]))
def test_floats_are_rounded_once(rows: Tensor, name: str) -> None:
    """Rounding what is rounded changes nothing, and the largest value of each group stays."""
    scale = scale_of(rows, Grid.parse(name))
    codes = scale.codes(rows)
    assert codes.equal(scale.codes(scale.values(codes)))
    assert float(codes.abs().max()) in {0, scale.grid.ends[1]}


@pytest.mark.parametrize("per", ["layer", "channel", "token"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_nan_makes_no_number(per: str, symmetric: bool) -> None:  # noqa: FBT001 - given by name
    """Neither in the scale of its group nor in the codes: it is not taken for a zero."""
    rows = torch.ones(3, 2)
    rows[1, 0] = torch.nan
    grid = Grid(4, symmetric=symmetric, per=per)  # type: ignore[arg-type] # one of three
    scale = scale_of(rows, grid)
    assert bool(scale.step.isnan().any())
    assert bool(scale.values(scale.codes(rows))[1, 0].isnan())


def test_other_numbers_have_another_name() -> None:
    """Scales of other numbers have another digest, equal scales the same one."""
    rows = torch.tensor([[1.0, -3.0], [2.0, 0.5]])
    same = scale_of(rows, Grid(4)).digest, scale_of(rows.flip(0), Grid(4)).digest
    assert same[0] == same[1] != scale_of(2 * rows, Grid(4)).digest
    asymmetric = Grid(4, symmetric=False)
    assert scale_of(rows, asymmetric).digest != scale_of(-rows, asymmetric).digest
