"""A model's states read with another model: both attacks, and the tolerance they are given."""

import numpy as np
import pytest
import torch

from pytest_injectivity.inversion.cross_model import (
    Inverting,
    cross_invert,
    drift_by_position,
    median_drift,
)
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.sipit import recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, round_weights, tiny_decoder

IDS = [(5, 9, 11, 3), (1, 2, 3, 4), (60, 7, 7, 0)]


def with_model(attacker: Decoder, layer: int) -> Inverting:
    """Inverts states of a layer with a model."""
    return lambda states, **asked: recover_all(attacker, states, layer, **asked)


def test_the_tolerance_is_the_largest_drift_so_far_and_the_floor() -> None:
    """Position 0 apart; later ones never fall."""
    zero = torch.zeros(4, 2)
    one = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 2.0], [0.0, 0.5]])
    other = torch.tensor([[0.0, 0.0], [0.0, 1.5], [0.0, 0.0], [1.0, 0.0]])
    found = drift_by_position([one, other], [zero, zero], (0.25, 0.125))
    assert (5.25, 1.625, 2.125, 2.125) == found
    assert (5.25,) == drift_by_position([one[:1]], [zero[:1]], (0.25, 0.0))


def test_the_drift_of_a_sink_counts_in_proportion_to_its_length() -> None:
    """It makes no tolerance that other states would be accepted by."""
    own = torch.ones(2, 4, 1)
    own[0, 2] = 100.0
    child = own + 0.25
    child[0, 2] = 150.0
    assert (0.25, 0.25, 0.5, 0.5) == drift_by_position(list(child), list(own), (0.0, 0.0))


def test_the_median_drift_is_of_all_positions() -> None:
    """Relative to the other model's norm."""
    other = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 0.0]])
    assert 0.5 == median_drift([other * torch.tensor([[1.0], [1.5], [3.0]])], [other])


def test_a_child_that_hardly_drifts_is_read_whole() -> None:
    """Rounded to 8 bits: by the nearest candidate, and verified within the drift."""
    parent = tiny_decoder(seed=3)
    child = round_weights(tiny_decoder(seed=3), 8)
    states, own = ([observe(one, ids, [2])[2] for ids in IDS] for one in (child, parent))
    eps = drift_by_position(states, own, (1e-5, 1e-5))
    nearest, within = cross_invert(
        with_model(parent, 2), states, IDS, vocabulary=64, eps=eps, nu=(1e-5, 1e-5)
    )
    assert (3, 3) == (nearest.whole, within.whole)
    np.testing.assert_array_equal([[4, 4, 4]] * 2, [nearest.right, within.right])


def test_the_nearest_candidate_equals_brute_force() -> None:
    """Where the child has drifted far: at each position the nearest of all, after the answers before."""
    parent, child = tiny_decoder(seed=3), round_weights(tiny_decoder(seed=3), 3)
    states = [observe(child, ids, [1])[1] for ids in IDS]
    nearest, _ = cross_invert(
        with_model(parent, 1), states, IDS, vocabulary=64, eps=(1.0,), nu=(0.0, 0.0)
    )
    expected = []
    for rows, truth in zip(states, IDS, strict=True):
        answer: list[int] = []
        for row in rows:
            tried = torch.tensor([[*answer, token] for token in range(64)])
            table = parent.states(tried, [1])[1][:, -1].double()
            answer.append(int((table - row.double()).norm(dim=1).argmin()))
        expected.append(sum(one == other for one, other in zip(answer, truth, strict=True)))
    np.testing.assert_array_equal(expected, nearest.right)


def test_a_ball_wider_than_the_margin_verifies_nothing_true() -> None:
    """The first position is ambiguous, so no prompt is verified whole; the nearest are all right."""
    rows = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    decoder = additive_decoder(rows, torch.zeros(16, 8))
    states = [observe(decoder, ids, [1])[1] for ids in IDS]
    nearest, within = cross_invert(
        with_model(decoder, 1), states, IDS, vocabulary=64, eps=(100.0,), nu=(100.0, 100.0)
    )
    assert 3 == nearest.whole
    assert 0 == within.whole
    assert (within.right < 4).all()


@pytest.mark.parametrize("known", [(), (1,)])
def test_known_tokens_are_not_counted(known: tuple[int, ...]) -> None:
    """What everybody knows was not read."""
    decoder = tiny_decoder(seed=1)
    truths = [(1, 5, 9), (1, 7, 30)]
    states = [observe(decoder, ids, [1])[1] for ids in truths]
    nearest, within = cross_invert(
        with_model(decoder, 1),
        states,
        truths,
        vocabulary=64,
        eps=(1e-4,),
        nu=(1e-5, 1e-5),
        known=known,
    )
    assert (2, 2) == (nearest.whole, within.whole)
    np.testing.assert_array_equal([[3 - len(known)] * 2] * 2, [nearest.right, within.right])
