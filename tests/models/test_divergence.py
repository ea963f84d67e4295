"""Next-token distributions compared: by their definition in float64, and where there is none."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.models.divergence import compare_logits


def _by_definition(first: np.ndarray, second: np.ndarray) -> float:
    """``KL(first || second)`` of one position, in Python's own floats."""

    def log_softmax(row: np.ndarray) -> list[float]:
        top = max(map(float, row))
        total = math.fsum(math.exp(float(one) - top) for one in row)
        return [float(one) - top - math.log(total) for one in row]

    p, q = log_softmax(first), log_softmax(second)
    return math.fsum(
        math.exp(one) * (one - other) for one, other in zip(p, q, strict=True) if one > -math.inf
    )


@given(st.integers(0, 2**31), st.integers(1, 40), st.floats(0.01, 30.0))
def test_it_is_the_definition_at_every_position(seed: int, vocab: int, scale: float) -> None:
    """Whatever the size of the logits, which are float32."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (scale * torch.randn(3, vocab, generator=generator) for _ in range(2))
    found = compare_logits(first, second)
    expected = [_by_definition(*pair) for pair in zip(first.numpy(), second.numpy(), strict=True)]
    assert expected == pytest.approx(found.nats.tolist(), rel=1e-9, abs=1e-12)
    assert (first.argmax(1) == second.argmax(1)).tolist() == found.agreed.tolist()
    assert [0.0] * 3 == found.elsewhere.tolist()


def test_equal_logits_do_not_diverge() -> None:
    """Not by rounding either; nor do logits that are shifted by a constant."""
    logits = torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    assert [0.0] * 5 == compare_logits(logits, logits).nats.tolist()
    assert compare_logits(logits, logits + 8.0).nats.max() < 1e-12


def test_ids_that_one_vocabulary_lacks_are_left_out() -> None:
    """Both distributions are over the ids of both; what the second gives to others is told.

    Whoever prefers such an id does not agree.
    """
    first, second = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0, 3.0]])
    found = compare_logits(first, second)
    assert [0.0] == found.nats.tolist()
    assert [False] == found.agreed.tolist() == compare_logits(second, first).agreed.tolist()
    assert [True] == compare_logits(first, torch.tensor([[0.0, 1.0, 0.5]])).agreed.tolist()
    whole = 1.0 + math.e + math.exp(3.0)
    assert [math.exp(3.0) / whole] == pytest.approx(found.elsewhere.tolist())
    other = compare_logits(second, first)
    assert [0.0] == other.nats.tolist() == other.elsewhere.tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_logit_that_is_no_number_leaves_no_distribution(bad: float) -> None:
    """Of the one that has it, which is said; the divergence is NaN and nothing is agreed on."""
    good = torch.zeros(2, 3)
    broken = good.clone()
    broken[1, 2] = bad
    found = compare_logits(good, broken)
    assert [False, True] == found.second_lost.tolist()
    assert not found.first_lost.any()
    assert 0.0 == found.nats[0]
    assert found.nats[1].isnan()
    assert [True, False] == found.agreed.tolist()
    assert [False, True] == compare_logits(broken, good).first_lost.tolist()


def test_ids_of_probability_zero() -> None:
    """Masked by the first they add nothing; masked by the second alone they are infinitely far."""
    one, other = torch.tensor([[0.0, 0.0, -math.inf]]), torch.tensor([[0.0, 0.0, 0.0]])
    assert [math.log(1.5)] == pytest.approx(compare_logits(one, other).nats.tolist())
    assert [math.inf] == compare_logits(other, one).nats.tolist()
    assert [0.0] == compare_logits(one, one).nats.tolist()
    assert compare_logits(torch.full((1, 3), -math.inf), other).first_lost.all()
