"""Post-hoc activation quantization: codes, steps and the collisions it makes."""

import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.rounded_rows import quantize
from pytest_injectivity.quantization.grid import Grid
from tests import brute_force
from tests.adversaries import DTYPES, SEEDS, any_rows, draw_rows

BITS = range(2, 9)
GRIDS = st.builds(
    Grid,
    bits=st.sampled_from(BITS),
    symmetric=st.booleans(),
    clip=st.sampled_from([None, 50.0, 90.0, 99.9]),
    per=st.sampled_from(["layer", "token", "channel"]),
)
PER = ("layer", "token", "channel")

ByHand = tuple[list[list[int]], list[list[float]], list[list[int]]]


def scale_by_hand(values: list[float], grid: Grid) -> tuple[float, int]:
    """Step and zero point of the values that share them, by sorting."""
    clip = Decimal(100) if grid.clip is None else Decimal(str(grid.clip))
    count = len(values)
    if grid.symmetric:
        inside = math.ceil(clip * count / 100)
        return sorted(map(abs, values))[inside - 1] / (2 ** (grid.bits - 1) - 1), 0
    beyond = int((100 - clip) / 2 * count / 100)
    low = min(0.0, sorted(values)[beyond])
    high = max(0.0, sorted(values)[count - 1 - beyond])
    step = high / (2**grid.bits - 1) - low / (2**grid.bits - 1)
    return step, round(-low / step) if step else 0


def by_hand(rows: Tensor, grid: Grid, source: Tensor | None = None) -> ByHand:
    """Codes, steps and zero points of every number, one at a time; Python rounds half to even."""
    values = rows.double().tolist()
    given_by = values if source is None else source.double().tolist()
    n, d = rows.shape
    if grid.per == "layer":
        one = scale_by_hand([x for row in given_by for x in row], grid)
        scales = [[one] * d] * n
    elif grid.per == "token":
        scales = [[scale_by_hand(row, grid)] * d for row in given_by]
    else:
        scales = [[scale_by_hand(list(column), grid) for column in zip(*given_by, strict=True)]] * n
    most = 2 ** (grid.bits - 1) - 1 if grid.symmetric else 2**grid.bits - 1
    least = -most if grid.symmetric else 0
    codes = [
        [
            max(least, min(most, round(x / step) + zero)) if step else zero
            for x, (step, zero) in zip(row, scale, strict=True)
        ]
        for row, scale in zip(values, scales, strict=True)
    ]
    steps, zeros = ([[one[at] for one in row] for row in scales] for at in (0, 1))
    return codes, steps, zeros


@given(rows=any_rows(), grid=GRIDS)
def test_every_number_equals_the_one_by_hand(rows: Tensor, grid: Grid) -> None:
    """Codes, steps, zero points and values: of every kind, shape, dtype and grid."""
    codes, steps, zeros = (np.array(one) for one in by_hand(rows, grid))
    if not steps.any():
        with pytest.raises(OptionError, match="zero everywhere"):
            quantize(rows, grid)
        return
    found = quantize(rows, grid)
    shape = tuple(rows.shape)
    np.testing.assert_array_equal(found.scale.step.expand(shape).numpy(), steps)
    np.testing.assert_array_equal(found.scale.zero.expand(shape).numpy(), zeros)
    np.testing.assert_array_equal(found.codes.numpy(), codes)
    np.testing.assert_array_equal(found.rows.numpy(), (codes - zeros) * steps)


@given(rows=any_rows(), grid=GRIDS)
def test_collisions_on_what_is_stored_equal_brute_force(rows: Tensor, grid: Grid) -> None:
    """Codes, and of each token its scale beside them."""
    codes, steps, zeros = by_hand(rows, grid)
    assume(np.array(steps).any())
    own = grid.per == "token"
    stored = [
        (code, step[0], zero[0]) if own else code
        for code, step, zero in zip(codes, steps, zeros, strict=True)
    ]
    expected = [(i, j) for i, j in brute_force.pairs(len(stored)) if stored[i] == stored[j]]
    found = EqualRows.of(quantize(rows, grid).stored)
    assert len(expected) == found.pairs
    assert expected == list(found.list_pairs(len(expected) + 1))


@given(rows=any_rows(), bits=st.sampled_from(BITS))
def test_collisions_on_codes_are_those_on_values(rows: Tensor, bits: int) -> None:
    """Under one scale, whether counted on codes or on what they stand for."""
    assume(bool(rows.abs().max() > 0))
    found = quantize(rows, bits)
    assert EqualRows.of(found.stored).pairs == EqualRows.of(found.rows).pairs


def test_equal_codes_of_other_scales_are_other_rows() -> None:
    """A row and its double have the same codes per token, and are no collision."""
    rows = torch.tensor([[4.0, -4.0], [2.0, -2.0], [4.0, -4.0]])
    found = quantize(rows, "4 per-token")
    assert [[7, -7]] * 3 == found.codes.tolist()
    assert ((0, 2),) == EqualRows.of(found.stored).list_pairs(9)
    assert rows.double().equal(found.rows)


@given(rows=any_rows(), grid=GRIDS, other=any_rows(), seed=SEEDS)
def test_a_calibration_set_gives_the_scale(
    rows: Tensor, grid: Grid, other: Tensor, seed: int
) -> None:
    """Of other rows of the layer: what lies beyond them becomes the end of the grid."""
    assume(grid.per != "token")
    columns = torch.randint(other.shape[1], (rows.shape[1],), generator=_generator(seed))
    source = other[:, columns]
    codes, steps, zeros = (np.array(one) for one in by_hand(rows, grid, source))
    assume(steps.any())
    found = quantize(rows, grid, source)
    np.testing.assert_array_equal(found.codes.numpy(), codes)
    np.testing.assert_array_equal(found.rows.numpy(), (codes - zeros) * steps)


@given(
    rows=any_rows(), bits=st.sampled_from(BITS), per=st.sampled_from(PER), symmetric=st.booleans()
)
def test_no_value_moves_more_than_half_a_step(
    rows: Tensor,
    bits: int,
    per: str,
    symmetric: bool,  # noqa: FBT001 - given by name
) -> None:
    """Where nothing is clipped."""
    grid = Grid(bits, symmetric=symmetric, per=per)  # type: ignore[arg-type] # one of three
    assume(np.array(by_hand(rows, grid)[1]).any())
    found = quantize(rows, grid)
    moved = (found.rows - rows.double()).abs()
    step = found.scale.step.expand(moved.shape)
    # A step at the edge of what float64 can hold is no half, and beside 2^b steps a few are lost.
    assume(bool((step[step > 0] > 1e-300).all()))
    assert bool((moved <= step / 2 * (1 + 1e-9)).all())


@given(rows=any_rows(), grid=GRIDS)
def test_zero_stays_zero(rows: Tensor, grid: Grid) -> None:
    """Whatever the range: what is nothing stays nothing."""
    assume(np.array(by_hand(rows, grid)[1]).any())
    rounded = quantize(rows, grid).rows
    assert bool((rounded[rows == 0] == 0).all())


@given(rows=any_rows(), grid=GRIDS)
def test_what_is_on_the_grid_stays_on_it(rows: Tensor, grid: Grid) -> None:
    """Rounded by the same scale once more, values are the same codes."""
    assume(np.array(by_hand(rows, grid)[1]).any())
    found = quantize(rows, grid)
    assume(bool((found.scale.step[found.scale.step > 0] > 1e-300).all()))
    assert found.codes.equal(found.scale.codes(found.rows).long())


@given(rows=any_rows(), grid=GRIDS, seed=SEEDS)
def test_the_order_of_the_rows_does_not_matter(rows: Tensor, grid: Grid, seed: int) -> None:
    """Every row has the codes it has elsewhere."""
    assume(np.array(by_hand(rows, grid)[1]).any())
    order = torch.randperm(len(rows), generator=_generator(seed))
    assert quantize(rows, grid).codes[order].equal(quantize(rows[order], grid).codes)


@given(rows=any_rows(), bits=st.sampled_from(BITS), symmetric=st.booleans())
def test_a_token_is_rounded_by_itself(rows: Tensor, bits: int, symmetric: bool) -> None:  # noqa: FBT001 - given by name
    """Alone it has the codes and the scale that it has among others."""
    grid = Grid(bits, symmetric=symmetric, per="token")
    assume(bool((rows.abs().amax(dim=1).double() > 1e-300).all()))
    found = quantize(rows, grid)
    alone = [quantize(row[None], grid).stored for row in rows]
    assert len(alone) >= 2
    assert torch.cat(alone).equal(found.stored)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per", ["token", "channel"])
def test_what_has_a_scale_of_its_own_may_be_scaled(per: str, symmetric: bool) -> None:  # noqa: FBT001 - given by name
    """Rows, or columns, times powers of two have the same codes, and another layer has not."""
    grid = Grid(5, symmetric=symmetric, per=per)  # type: ignore[arg-type] # one of two
    rows = draw_rows("gaussian", 40, 12)
    powers = 2.0 ** torch.arange(-20, 20)
    scaled = rows * (powers[:, None] if per == "token" else powers[:12])
    assert quantize(rows, grid).codes.equal(quantize(scaled, grid).codes)
    layer = Grid(5, symmetric=symmetric)
    assert not quantize(rows, layer).codes.equal(quantize(scaled, layer).codes)


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
def test_the_largest_magnitude_is_kept(bits: int) -> None:
    """One scale for the layer, symmetric about zero, clipping nothing."""
    rows = draw_rows("sink", 50, 20)
    found = quantize(rows, bits)
    assert 2 ** (bits - 1) - 1 == int(found.codes.abs().max())
    assert float(rows.abs().max()) == pytest.approx(float(found.rows.abs().max()), rel=1e-15)


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
def test_both_ends_are_codes_where_zero_is_not_in_the_middle(bits: int) -> None:
    """All ``2^b`` levels from the least value to the largest."""
    rows = draw_rows("gaussian", 50, 20, torch.float64) + 3
    found = quantize(rows, Grid(bits, symmetric=False))
    assert (0, 2**bits - 1) == (int(found.codes.min()), int(found.codes.max()))
    # The zero point is a whole number, which moves both ends by half a step at most.
    step = float(found.scale.step)
    for end in (torch.amin, torch.amax):
        assert abs(float(end(found.rows)) - float(end(rows))) <= step / 2 * (1 + 1e-9)


@pytest.mark.parametrize("symmetric", [True, False])
def test_clipping_spends_the_codes_on_the_rest(symmetric: bool) -> None:  # noqa: FBT001 - given by name
    """One attention sink takes the scale of all others, unless it is clipped."""
    rows = draw_rows("gaussian", 100, 20)
    rows[7, 3] = 1e4
    whole = quantize(rows, Grid(8, symmetric=symmetric))
    clipped = quantize(rows, Grid(8, symmetric=symmetric, clip=99.9))
    assert EqualRows.of(whole.stored).pairs > 1000
    assert 0 == EqualRows.of(clipped.stored).pairs
    assert float(clipped.rows[7, 3]) < 10
    others = rows.abs() < 2
    assert float((clipped.rows - rows).abs()[others].max()) < 0.03


def test_two_bits_are_three_codes_or_four() -> None:
    """-1, 0 and 1; half a step rounds to even."""
    rows = torch.tensor([[4.0, -4.0], [2.0, 2.1], [-1.9, 0.0]])
    found = quantize(rows, 2)
    assert 4.0 == float(found.scale.step)
    assert [[1, -1], [0, 1], [0, 0]] == found.codes.tolist()
    # From -4 to 4 in three steps of 8/3: zero is code 2 (1.5 to even), and 4 becomes 8/3.
    asymmetric = quantize(rows, "2 asymmetric")
    assert [[3, 0], [3, 3], [1, 2]] == asymmetric.codes.tolist()
    assert 8 / 3 == pytest.approx(float(asymmetric.rows[0, 0]))


def rounded_constant(grid: str, constant: float) -> list[float]:
    """The values of a constant channel among others."""
    rows = draw_rows("gaussian", 30, 4)
    rows[:, 2] = constant
    return quantize(rows, grid).rows[:, 2].tolist()


@pytest.mark.parametrize(
    ("grid", "constant"),
    [
        *((grid, 0.0) for grid in ("8", "8 asymmetric")),
        *(
            (f"8{kind} per-channel", value)
            for kind in ("", " asymmetric")
            for value in (0, -3.5, 7)
        ),
    ],
)
def test_a_constant_channel_is_kept_exactly(grid: str, constant: float) -> None:
    """Zero by any scale; with a scale of its own, whatever the other channels are."""
    assert [pytest.approx(constant, rel=1e-15)] * 30 == rounded_constant(grid, constant)


@pytest.mark.parametrize("grid", ["8", "8 asymmetric"])
@pytest.mark.parametrize("constant", [-3.5, 7.0])
def test_a_constant_channel_stays_constant(grid: str, constant: float) -> None:
    """By the scale of the whole layer it may be another constant."""
    assert 1 == len(set(rounded_constant(grid, constant)))


@pytest.mark.parametrize("grid", ["4 per-token", "4 asymmetric per-token"])
def test_a_token_of_zeros_stays_zero(grid: str) -> None:
    """And collides with others of its kind, as it did before."""
    rows = torch.tensor([[0.0, 0.0], [1.0, -2.0], [-0.0, 0.0]])
    found = quantize(rows, grid)
    assert [0.0, 0.0] == found.rows[0].tolist()
    assert ((0, 2),) == EqualRows.of(found.stored).list_pairs(9)


def test_a_channel_that_calibration_never_saw_is_rounded_to_zero() -> None:
    """As it would be by a quantizer that was calibrated so."""
    found = quantize(torch.ones(3, 2), "4 per-channel", torch.tensor([[0.0, 2.0]]))
    assert [0.0] * 3 == found.rows[:, 0].tolist()
    assert [0] * 3 == found.codes[:, 0].tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fewer_bits_never_part_what_more_bits_join_at_zero(dtype: torch.dtype) -> None:
    """The number of colliding pairs of a real layer grows as bits are taken away."""
    rows = draw_rows("gaussian", 300, 3, dtype)
    counts = [EqualRows.of(quantize(rows, bits).stored).pairs for bits in (8, 6, 4, 2)]
    assert sorted(counts) == counts
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("bits", [1, 0, -8, 33, True])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    """The message names the value and what is accepted."""
    with pytest.raises(OptionError, match=rf"bits={bits!r}: give a whole number .* 2 to 32"):
        quantize(torch.ones(2, 2), bits)


@pytest.mark.parametrize("grid", ["4", "4 asymmetric", "4 per-token", "4 per-channel clip=99"])
@pytest.mark.parametrize("rows", [torch.zeros(3, 2), -torch.zeros(3, 2), torch.zeros(0, 2)])
def test_a_layer_without_scale_is_refused(rows: Tensor, grid: str) -> None:
    """All zero, or no row that is finite."""
    with pytest.raises(
        OptionError, match="a layer that is zero everywhere has no scale for 4 bits"
    ):
        quantize(rows, grid)


def test_numbers_too_small_for_a_step_are_refused() -> None:
    """The least float64 over 127 is 0: no step, and no NaN in its place."""
    with pytest.raises(OptionError, match="no scale for 8 bits"):
        quantize(torch.tensor([[5e-324], [0.0]], dtype=torch.float64), 8)


@pytest.mark.parametrize(
    ("grid", "calibration", "message"),
    [
        ("4 per-token", torch.ones(2, 2), "each row has its own scale: give no calibration"),
        ("4 calibrated=3", None, "4 bits calibrated=3: give the rows of these prompts"),
        ("4", torch.ones(2, 3), "calibration rows of width 3 for rows of width 2"),
        ("4", torch.zeros(2, 2), "calibration rows that are zero everywhere have no scale for 4"),
        ("4", torch.ones(0, 2), "calibration rows that are zero everywhere have no scale for 4"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(
    grid: str, calibration: Tensor | None, message: str
) -> None:
    """With the reason."""
    with pytest.raises(OptionError, match=message):
        quantize(torch.ones(2, 2), grid, calibration)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
