"""The orthogonal map between embeddings: found where there is one, and where there is none not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.reference.basis import Rotation, is_rotation
from pytest_injectivity.reference.rotation import fit_rotation
from tests.rebased import orthogonal

WIDTH, VOCAB = 12, 100


def _rows(seed: int = 0, vocab: int = VOCAB) -> Tensor:
    return torch.randn(vocab, WIDTH, generator=torch.Generator().manual_seed(seed))


def _matrix(found: Rotation) -> np.ndarray:
    assert found.matrix is not None
    return found.matrix


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_a_rotation_is_found_whatever_the_scale(seed: int, scale: float) -> None:
    """It is the inverse of what turned the rows, and orthogonal to float64's rounding."""
    parents, turn = scale * _rows(seed).double(), orthogonal(WIDTH, seed + 1)
    found = fit_rotation(parents @ turn, parents)
    assert found.after < 1e-12
    assert found.before > 0.5
    assert np.allclose(_matrix(found), turn.T.numpy(), atol=1e-10)
    assert np.allclose(_matrix(found) @ _matrix(found).T, np.eye(WIDTH), atol=1e-12)


def test_rounded_rows_are_still_a_rotation() -> None:
    """Of each value a tenth is noise, as after 4 bits; the map is fitted on one half of the tokens."""
    parents, turn = _rows().double(), orthogonal(WIDTH)
    own = parents @ turn + 0.1 * _rows(5).double()
    found = fit_rotation(own, parents)
    assert 50 == found.tokens
    assert 0.05 < found.after < 0.15
    assert np.allclose(_matrix(found), turn.T.numpy(), atol=0.15)


@pytest.mark.parametrize(
    "own",
    [
        _rows(1),
        _rows().roll(1, dims=0),
        3.0 * _rows() @ orthogonal(WIDTH).float(),
        _rows() * torch.linspace(0.1, 10.0, WIDTH),
        _rows() @ torch.linalg.matrix_power(torch.diag(torch.arange(1.0, WIDTH + 1)), 1),
    ],
    ids=["unrelated", "wrong tokens", "scaled", "stretched", "stretched more"],
)
def test_what_is_no_rotation_is_not_taken_for_one(own: Tensor) -> None:
    """The other half of the tokens tells: the map fits its own half better than that."""
    found = fit_rotation(own, _rows())
    assert found.matrix is None
    assert found.before > 0.5
    assert math.isfinite(found.after)


def test_equal_rows_need_no_map() -> None:
    """A small change neither: the identity explains it."""
    assert fit_rotation(_rows(), _rows()).matrix is None
    found = fit_rotation(_rows() + 0.2 * _rows(3), _rows())
    assert found.before < 0.5
    assert found.matrix is None


def test_too_few_tokens_decide_nothing() -> None:
    """With fewer tokens than the width a map is free in what they do not span."""
    few = _rows(vocab=2 * WIDTH - 2)
    found = fit_rotation(few @ orthogonal(WIDTH).float(), few)
    assert (WIDTH - 1, WIDTH, None) == (found.tokens, found.width, found.matrix)
    assert math.isnan(found.after)


def test_rows_of_zeros_and_of_padding_are_left_out() -> None:
    """Tokens that were never trained, and those that one table does not have."""
    parents = _rows()
    parents[10:40] = 0.0
    own = torch.cat([parents @ orthogonal(WIDTH).float(), _rows(9)])
    found = fit_rotation(own, parents)
    assert 35 == found.tokens
    assert found.after < 1e-5


def test_a_large_vocabulary_is_sampled() -> None:
    """At equal steps, so that the products stay small."""
    parents = _rows(vocab=10_000)
    found = fit_rotation(parents @ orthogonal(WIDTH).float(), parents)
    assert 8 * WIDTH <= found.tokens <= 9 * WIDTH
    assert found.after < 1e-5


def test_rows_that_are_no_numbers_are_no_rotation() -> None:
    """A NaN in a table decides nothing."""
    own = _rows()
    own[0, 0] = torch.nan
    assert fit_rotation(own, _rows()).matrix is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(1.4, 0.46, True), (1.4, 0.48, False), (1.6, 0.51, False), (0.5, 0.0, False)],
)
def test_the_rule(before: float, after: float, *, expected: bool) -> None:
    """At most half of the norm apart, and three times nearer than without."""
    assert expected is is_rotation(before, after)
