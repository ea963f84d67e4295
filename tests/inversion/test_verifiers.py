import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.one_step import distances, local_margin
from pytest_injectivity.inversion.recovery import Status
from pytest_injectivity.inversion.verifiers import (
    Argmin,
    Ball,
    Judgement,
    Tolerances,
    Verifier,
    VerifierName,
)
from pytest_injectivity.states.tolerance_by_norm import ToleranceByNorm

STATE = torch.ones(4)


def judge(verifier: Verifier, away: list[float], margin: float | None) -> Judgement:
    found = torch.tensor(away, dtype=torch.float64)
    return verifier.judge(found, int(found.argmin()), margin)


@pytest.mark.parametrize(
    ("away", "margin", "status", "rivals"),
    [
        ([0.9, 5.0], 5.0, Status.CERTIFIED, []),
        ([1.0, 5.0], 5.0, Status.CERTIFIED, []),  # eps itself is inside
        ([0.9, 5.0], None, Status.ACCEPTED, []),  # the vocabulary was not seen
        ([0.9, 0.95], 5.0, Status.AMBIGUOUS, [1]),
        ([0.9, 0.95], None, Status.AMBIGUOUS, [1]),
        ([0.9, 1.4], 5.0, Status.AMBIGUOUS, [1]),  # eps + 2 nu itself is inside
        ([0.9, 1.41], 5.0, Status.CERTIFIED, []),
        ([1.1, 1.2], 5.0, Status.NEAREST, []),
        ([1.1, 1.2], None, Status.NEAREST, []),
        ([math.inf, 0.5, 9.0], 8.0, Status.CERTIFIED, []),
    ],
)
def test_the_ball(
    away: list[float], margin: float | None, status: Status, rivals: list[int]
) -> None:
    """Radius 1, noise 0.2: inside verifies, one more within 1.4 is ambiguous."""
    judged = judge(Ball(1.0, 0.2), away, margin)
    assert (status, 1.0) == (judged.status, judged.eps)
    assert rivals == judged.rivals.nonzero()[:, 0].tolist()


def test_the_ball_settles_on_the_first_inside() -> None:
    """The search may stop there, and no sooner."""
    ball = Ball(1.0, 0.2)
    assert not ball.settles(torch.tensor([1.1, 2.0], dtype=torch.float64))
    assert ball.settles(torch.tensor([3.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("nearest", "margin", "backoff", "status", "eps"),
    [
        (1.5, 5.0, 1.0, Status.NEAREST, 1.0),  # not asked to widen
        (1.5, 5.0, 2.0, Status.ACCEPTED, 1.5),
        (2.5, 9.0, 2.0, Status.NEAREST, 1.0),  # beyond what was asked
        (2.2, 5.0, 9.0, Status.ACCEPTED, 2.2),
        (2.3, 5.0, 9.0, Status.NEAREST, 1.0),  # 2.3 + 0.2 is not below 5 / 2
        (3.0, 5.0, 1e9, Status.NEAREST, 1.0),
        (1.5, None, 9.0, Status.NEAREST, 1.0),  # uniqueness is not known
    ],
)
def test_backoff_stops_where_uniqueness_stops(
    nearest: float, margin: float | None, backoff: float, status: Status, eps: float
) -> None:
    """However far it may widen; and what it accepts is never certified."""
    judged = judge(Ball(1.0, 0.2, backoff), [nearest, 100.0], margin)
    assert (status, eps) == (judged.status, judged.eps)


@pytest.mark.parametrize(
    ("away", "status"),
    [
        ([7.0, 9.0], Status.NEAREST),
        ([0.0, 9.0], Status.NEAREST),
        ([7.0, 7.3], Status.AMBIGUOUS),
        ([0.0, 0.0], Status.AMBIGUOUS),
    ],
)
def test_argmin_answers_and_verifies_nothing(away: list[float], status: Status) -> None:
    """Two candidates whose order the noise could turn are told."""
    argmin = Argmin(0.2)
    assert status == judge(argmin, away, 5.0).status
    assert not argmin.settles(torch.zeros(2, dtype=torch.float64))


def test_the_larger_tolerance_of_a_sink_counts_once_the_vocabulary_was_compared() -> None:
    """Before, nothing says that what lies within it is unique."""
    ball = Ball(1.0, 0.2, compared=(10.0, 2.0))
    assert not ball.settles(torch.tensor([1.1], dtype=torch.float64))
    for away, margin, status, eps in (
        ([9.0, 50.0], None, Status.NEAREST, 1.0),
        ([9.0, 50.0], 50.0, Status.CERTIFIED, 10.0),
        ([0.9, 14.0], None, Status.ACCEPTED, 1.0),
        ([0.9, 14.0], 13.0, Status.AMBIGUOUS, 10.0),
        ([11.0, 50.0], 50.0, Status.NEAREST, 10.0),
    ):
        judged = judge(ball, away, margin)
        assert (status, eps) == (judged.status, judged.eps)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ball", [Ball(0.5, 0.25), Ball(0.5, 0.25, compared=(20.0, 10.0))]),
        ("argmin", [Argmin(0.25), Argmin(10.0)]),
    ],
)
def test_a_sink_has_tolerances_in_proportion_to_its_length(
    name: VerifierName, expected: list[Verifier]
) -> None:
    """Of a state as long as most nothing is larger."""
    eps, nu = (ToleranceByNorm((9.0, one), (100.0, 1.0)) for one in (0.5, 0.25))
    tolerances = Tolerances.of(name, eps, nu, 1.0)
    assert expected == [tolerances.verifier(3, torch.full((4,), one)) for one in (1.0, 20.0)]


CASES = st.tuples(
    st.integers(0, 2**32 - 1),  # seed of the candidates
    st.integers(2, 12),  # how many
    st.integers(1, 6),  # width
    st.floats(0, 0.98),  # share of delta / 2 that eps + nu takes
    st.floats(0, 1),  # share of it that is nu
    st.floats(0, 1),  # share of eps that the error takes
)


@given(CASES)
def test_the_ball_is_exact_under_its_condition(
    case: tuple[int, int, int, float, float, float],
) -> None:
    """Error at most eps and eps + nu < delta / 2: certified, and no new evaluation changes it."""
    seed, count, width, reach, noise, error = case
    states, delta, direction = drawn(seed, count, width)
    eps, nu = (share * reach * delta / 2 for share in (1 - noise, noise))
    away = distances(states, states[0] + direction * error * eps * (1 - 1e-9))
    answer = int(away.argmin())
    assert 0 == answer
    assert Status.CERTIFIED == Ball(eps, nu).judge(away, answer, delta).status
    # Another evaluation brings a rival nearer by nu at most: still outside.
    assert (away[1:] - nu > eps).all()


@given(CASES)
def test_argmin_is_exact_under_its_condition(
    case: tuple[int, int, int, float, float, float],
) -> None:
    """Error below delta / 2: the truth is nearest."""
    states, delta, direction = drawn(*case[:3])
    target = states[0] + direction * case[3] * delta / 2
    assert 0 == int(distances(states, target).argmin())


def drawn(seed: int, count: int, width: int) -> tuple[torch.Tensor, float, torch.Tensor]:
    """Candidates, the margin of the first, and the unit vector towards its nearest rival."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(count, width, generator=generator, dtype=torch.float64)
    delta = local_margin(states, 0)
    rival = 1 + int(distances(states[1:], states[0]).argmin())
    return states, delta, (states[rival] - states[0]) / delta


def test_one_number_serves_every_position() -> None:
    """And stands for the noise too where none is given."""
    tolerances = Tolerances.of("ball", 0.5, None, 2.0)
    assert [Ball(0.5, 0.5, 2.0)] * 2 == [tolerances.verifier(at, STATE) for at in (0, 9)]


def test_the_last_number_serves_all_positions_after_it() -> None:
    """A floor of position 0 apart, and one of the rest."""
    tolerances = Tolerances.of("ball", (9.0, 0.5), 0.25, 1.0)
    found = [tolerances.verifier(at, STATE) for at in (0, 1, 7)]
    assert [Ball(9.0, 0.25), Ball(0.5, 0.25), Ball(0.5, 0.25)] == found


def test_argmin_has_noise_and_no_tolerance() -> None:
    """It takes the nearest candidate whatever its distance."""
    assert Argmin(0.25) == Tolerances.of("argmin", 9.0, 0.25, 1.0).verifier(3, STATE)


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, (0.1, math.nan), (-1.0, 0.0), ()])
@pytest.mark.parametrize("name", ["eps", "nu"])
def test_what_is_no_tolerance_is_refused_by_name(name: str, value: Any) -> None:
    """The message names the argument, its value and what is accepted."""
    given = {"eps": 0.1, "nu": 0.1, name: value}
    with pytest.raises(OptionError) as refused:
        Tolerances.of("ball", given["eps"], given["nu"], 1.0)
    assert str(refused.value).startswith(
        f"{name}={value!r} is not a tolerance: give a finite number"
    )


@pytest.mark.parametrize("backoff", [0.99, -1.0, math.nan, math.inf])
def test_backoff_is_a_finite_factor(backoff: float) -> None:
    """Widening without a bound would accept anything."""
    with pytest.raises(OptionError, match=r"backoff=.* give a finite number that is at least 1"):
        Tolerances.of("ball", 0.1, None, backoff)
