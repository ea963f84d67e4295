import math

import pytest

from pytest_injectivity.inversion.recovery import Inversion, Outcome, Recovery, Status

CERTIFIED = Outcome(1, Status.CERTIFIED, token=5, residual=0.1, eps=0.2, margin=3.0, tried=0)
ACCEPTED = Outcome(2, Status.ACCEPTED, token=6, residual=0.1, eps=0.2, tried=10)
AMBIGUOUS = Outcome(2, Status.AMBIGUOUS, token=6, rivals=(9,), tried=30)
NEAREST = Outcome(2, Status.NEAREST, token=6, tried=64)
NOT_FINITE = Outcome(2, Status.NOT_FINITE)


def recovery(*outcomes: Outcome) -> Recovery:
    return Recovery((7,), outcomes, 0.0)


def test_a_recovery_is_exact_when_it_is_verified_and_true() -> None:
    """Known tokens are part of the prompt."""
    found = recovery(CERTIFIED, ACCEPTED)
    assert (7, 5, 6) == found.ids
    assert found.exact([7, 5, 6])
    assert not found.exact([7, 5, 8])
    assert not found.exact([7, 5])
    assert () == found.failures


@pytest.mark.parametrize("failed", [AMBIGUOUS, NEAREST, NOT_FINITE])
def test_the_right_token_unverified_is_not_exact(failed: Outcome) -> None:
    """Neither one of two that verify, nor a nearest one, nor none."""
    found = recovery(CERTIFIED, failed)
    assert not found.verified
    assert not found.exact([7, 5, 6])
    assert (failed,) == found.failures


def test_the_first_error_is_the_first_token_that_differs() -> None:
    """A missing answer is an error, and so is a truth of another length."""
    assert recovery(CERTIFIED, NEAREST).first_error([7, 5, 6]) is None
    assert 1 == recovery(CERTIFIED, ACCEPTED).first_error([7, 4, 4])
    assert 2 == recovery(CERTIFIED, NOT_FINITE).first_error([7, 5, 6])
    assert 2 == recovery(CERTIFIED).first_error([7, 5, 6])
    assert 2 == recovery(CERTIFIED, ACCEPTED).first_error([7, 5])


def test_an_outcome_without_an_answer_has_no_residual() -> None:
    """NaN, which passes no gate."""
    assert math.isnan(NOT_FINITE.residual)
    assert NOT_FINITE.token is None


def test_an_inversion_counts_its_sample_and_its_statuses() -> None:
    """Only sampled positions estimate; the table's positions are no search."""
    prompts = (recovery(CERTIFIED, ACCEPTED), recovery(CERTIFIED, AMBIGUOUS))
    found = Inversion(3, "random", prompts, ((0, 1), (1, 2)), 0.0)
    assert (CERTIFIED, AMBIGUOUS) == found.sampled
    assert 1 == found.ambiguous
    assert {Status.CERTIFIED: 2, Status.ACCEPTED: 1, Status.AMBIGUOUS: 1} == found.statuses
    assert 20.0 == found.candidates_per_token


def test_an_inversion_of_single_tokens_searched_nothing() -> None:
    """All was in the table."""
    assert 0.0 == Inversion(3, "random", (recovery(CERTIFIED),), (), 0.0).candidates_per_token
