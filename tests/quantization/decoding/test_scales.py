"""Scales over matrices against sums over single numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.quantization.decoding.matrices import floats_of_4_bits
from pytest_injectivity.quantization.decoding.scales import by_order, scaled


def _by_hand(codes: Tensor, scales: Tensor, zeros: Tensor, block: tuple[int, int]) -> Tensor:
    found = torch.empty(codes.shape)
    for row in range(codes.shape[0]):
        for column in range(codes.shape[1]):
            at = (row // block[0], column // block[1])
            found[row, column] = (float(codes[row, column]) - zeros[at]) * scales[at]
    return found


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9)
)
def test_a_grid_of_scales(rows: int, columns: int, high: int, wide: int, seed: int) -> None:
    """Each number is multiplied by the scale of its block."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(-8, 8, (rows * high, columns * wide), generator=draw)
    scales = torch.rand(rows, columns, generator=draw)
    zeros = torch.randint(-8, 8, (rows, columns), generator=draw).float()
    wanted = _by_hand(codes, scales, zeros, (high, wide))
    assert scaled(codes, scales, zeros=zeros, block=(high, wide)).equal(wanted)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_groups_of_inputs(rows: int, groups: int, wide: int, seed: int) -> None:
    """Without blocks each row has scales of its own, of groups of equal size."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(-8, 8, (rows, groups * wide), generator=draw)
    scales = torch.rand(rows, groups, generator=draw)
    wanted = _by_hand(codes, scales, torch.zeros(rows, groups), (1, wide))
    assert scaled(codes, scales).equal(wanted)


@pytest.mark.parametrize(
    ("codes", "scales"), [((4, 6), (2, 1)), ((4, 6), (2, 3)), ((4, 6), (1, 3)), ((2, 4, 6), (2,))]
)
def test_rows_without_scales_of_their_own_are_refused(
    codes: tuple[int, ...], scales: tuple[int, ...]
) -> None:
    """A grid of too few rows is none of blocks that nobody has told, nor one of experts."""
    with pytest.raises(ValueError, match=r"are no grid over a matrix of 4 x 6"):
        scaled(torch.ones(codes), torch.ones(scales))


def test_blocks_that_are_cut_off() -> None:
    """DeepSeek's matrices are no multiple of 128: the last blocks are smaller."""
    codes, scales = torch.ones(5, 7), torch.rand(2, 3)
    wanted = _by_hand(codes, scales, torch.zeros(2, 3), (3, 3))
    assert scaled(codes, scales, block=(3, 3)).equal(wanted)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_scale_for_all(shape: tuple[int, ...]) -> None:
    """However many dimensions the file gives it."""
    assert scaled(torch.ones(2, 3), torch.full(shape, 0.5)).equal(torch.full((2, 3), 0.5))


def test_one_scale_a_row() -> None:
    """With a dimension for the columns or without."""
    scales = torch.tensor([1.0, 2.0])
    wanted = torch.tensor([[1.0] * 3, [2.0] * 3])
    assert scaled(torch.ones(2, 3), scales).equal(wanted)
    assert scaled(torch.ones(2, 3), scales[:, None]).equal(wanted)


@pytest.mark.parametrize(
    ("scales", "block"),
    [
        ((2, 2), None),
        ((3, 1), None),
        ((2, 1), (2, 3)),
        ((0, 3), None),
        ((1, 2), (4, 4)),
        ((4,), None),
    ],
)
def test_what_is_no_grid_is_refused(scales: tuple[int, ...], block: tuple[int, int] | None) -> None:
    """Neither too few scales nor too many are stretched over a matrix."""
    with pytest.raises(ValueError, match=r"are no grid over a matrix of 5 x 3"):
        scaled(torch.ones(5, 3), torch.ones(scales), block=block)


def test_a_group_that_does_not_exist_is_refused() -> None:
    """An order of inputs that points beyond the scales reads nothing."""
    scales = torch.tensor([[1.0, 2.0]])
    assert by_order(scales, torch.tensor([1, 0, 1])).tolist() == [[2.0, 1.0, 2.0]]
    with pytest.raises(ValueError, match="groups 0 to 2, and there are 2"):
        by_order(scales, torch.tensor([0, 2]))


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 1, 1)])
def test_fused_experts_have_a_global_scale_each(shape: tuple[int, ...]) -> None:
    """A stack of matrices is decoded as its matrices are, one by one."""
    draw = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (3, 4, 8), dtype=torch.uint8, generator=draw)
    scales = torch.rand(3, 4, 1, generator=draw).to(torch.float8_e4m3fn)
    second = torch.rand(3, generator=draw) + 1
    alone = [
        floats_of_4_bits(packed[at], scales[at], over=second[at].reshape(())) for at in range(3)
    ]
    assert floats_of_4_bits(packed, scales, over=second.reshape(shape)).equal(torch.stack(alone))
    with pytest.raises(ValueError, match="2 global scales for 3 matrices"):
        floats_of_4_bits(packed, scales, over=second[:2])
