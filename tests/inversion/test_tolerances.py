"""What SipIt accepts, certifies or calls ambiguous as the error of a state grows."""

import pytest
import torch
from torch import Tensor

from pytest_injectivity.inversion.recovery import Status
from pytest_injectivity.inversion.sipit import recover, recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    additive_decoder,
    tiny_decoder,
)
from tests.inversion.observing import Floor, drawn, observed


def test_backoff_does_not_make_a_wrong_model_recover(floor: Floor) -> None:
    """Asked to widen without end it stops where uniqueness does: no prompt is verified."""
    right, wrong = tiny_decoder(seed=0), tiny_decoder(seed=1)
    states = [observed(right, ids, 2) for ids in drawn(10, 8)]
    found = recover_all(wrong, states, 2, eps=max(map(floor, states)), backoff=1e12)
    assert not any(recovery.verified for recovery in found.recoveries)


def line(*places: float) -> Decoder:
    """Tokens along one direction at a distance known exactly, at every layer and position."""
    rows = torch.zeros(len(places), 8, dtype=torch.float64)
    rows[:, 0] = torch.tensor(places, dtype=torch.float64)
    return additive_decoder(rows, torch.zeros(4, 8, dtype=torch.float64))


def moved(by: float, position: int = 1) -> Tensor:
    """The states of (0, 0) in `line`, one of them moved towards the tokens at greater places."""
    states = torch.zeros(2, 8, dtype=torch.float64)
    states[position, 0] = by
    return states


# Tokens at 0, 1 and 5: delta of token 0 is 1, so that eps + nu must stay below 0.5.
@pytest.mark.parametrize(
    ("error", "eps", "nu", "status", "token"),
    [
        (0.39, 0.4, 0.09, Status.CERTIFIED, 0),  # within the certified radius
        (0.41, 0.4, 0.09, Status.NEAREST, 0),  # just above eps
        (0.39, 0.4, 0.11, Status.AMBIGUOUS, 0),  # 0.61 <= eps + 2 nu
        (0.49, 0.495, 0.0, Status.CERTIFIED, 0),
        (0.495, 0.51, 0.0, Status.AMBIGUOUS, 0),  # both within eps
        (0.51, 0.495, 0.0, Status.CERTIFIED, 1),  # the error is above eps: certified, and wrong
        (0.51, 0.4, 0.0, Status.NEAREST, 1),
    ],
)
def test_noise_about_the_certified_radius(
    error: float, eps: float, nu: float, status: Status, token: int
) -> None:
    """The ball is exact for errors up to eps, if eps + nu < delta / 2."""
    found = recover(line(0, 1, 5), moved(error), 1, eps=eps, nu=nu, backoff=1.0, certify=True)
    assert (status, token) == (found.outcomes[1].status, found.outcomes[1].token)
    assert 1.0 == found.outcomes[1].margin


@pytest.mark.parametrize(("error", "token"), [(0.49, 0), (0.51, 1)])
def test_argmin_about_half_the_margin(error: float, token: int) -> None:
    """Exact below delta / 2 and wrong above; it claims nothing in either case."""
    found = recover(line(0, 1, 5), moved(error), 1, eps=0.0, verifier="argmin")
    assert (0, token) == found.ids
    assert {Status.NEAREST} == {outcome.status for outcome in found.outcomes}
    assert [1.0, 1.0] == [outcome.margin for outcome in found.outcomes]
    assert 3 == found.outcomes[1].tried


def test_backoff_accepts_what_is_still_unique() -> None:
    """An error above eps and below delta / 2, with the tolerance that would have passed."""
    decoder, states = line(0, 1, 5), moved(0.4)
    assert Status.NEAREST == recover(decoder, states, 1, eps=0.2, backoff=1.0).outcomes[1].status
    for factor in ({}, {"backoff": 2.5}):
        widened = recover(decoder, states, 1, eps=0.2, nu=0.0, **factor).outcomes[1]
        assert (Status.ACCEPTED, 0) == (widened.status, widened.token)
        assert pytest.approx(0.4) == widened.eps == widened.residual
    # By default up to four times eps.
    assert Status.NEAREST == recover(decoder, states, 1, eps=0.099, nu=0.0).outcomes[1].status


def test_each_position_has_its_own_tolerance() -> None:
    """The floor of position 0 is not that of the others, and the last serves all after it."""
    decoder = line(0, 10, 20)
    at_first, at_second = moved(1.0, position=0), moved(1.0, position=1)
    assert recover(decoder, at_first, 1, eps=(1.5, 0.1)).verified
    assert not recover(decoder, at_second, 1, eps=(1.5, 0.1)).verified
    assert recover(decoder, at_second, 1, eps=(0.1, 1.5)).verified
