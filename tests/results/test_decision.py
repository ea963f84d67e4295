"""Recoveries with their standard errors, and the choice that judged rules make."""

import math

import numpy as np
import pytest

from pytest_injectivity.results.decision import Choice, Decision, JudgedRule, Kept, Recovery
from pytest_injectivity.results.evaluation import Score


def _score(value: float, stderr: float | None = None, *, higher: bool | None = True) -> Score:
    return Score("t", "acc,none", value, stderr, higher)


@pytest.mark.parametrize("higher", [True, False])
def test_the_standard_error_is_that_of_many_draws(*, higher: bool) -> None:
    """Of independent scores with normal errors, whichever of them is divided by the other."""
    one, other = _score(0.6, 0.01, higher=higher), _score(0.63, 0.008, higher=higher)
    found = Recovery.of(one, other)
    draw = np.random.default_rng(0)
    model, reference = draw.normal(0.6, 0.01, 400_000), draw.normal(0.63, 0.008, 400_000)
    ratios = model / reference if higher else reference / model
    assert found.stderr == pytest.approx(float(ratios.std()), rel=0.01)
    assert found.value == pytest.approx(0.6 / 0.63 if higher else 0.63 / 0.6)
    assert found.least(0.95) == pytest.approx(float(np.quantile(ratios, 0.05)), abs=1e-3)


def test_a_score_of_nothing_has_a_recovery_of_nothing() -> None:
    """Its standard error is that of the score over the reference's."""
    found = Recovery.of(_score(0.0, 0.02), _score(0.5, 0.01))
    assert (0.0, 0.04) == (found.value, found.stderr)


@pytest.mark.parametrize(
    ("child", "parent", "reason"),
    [
        (_score(0.5), _score(0.0), "the reference's score is 0"),
        (_score(0.5), _score(-1.0), "the reference's score is -1"),
        (_score(0.5), _score(math.nan), "the reference's score is nan"),
        (_score(0.5), _score(math.inf), "the reference's score is inf"),
        (_score(0.0, higher=False), _score(2.0, higher=False), "the model's score is 0"),
        (_score(0.5, higher=None), _score(0.5, higher=None), "whether more is better"),
        (_score(0.5), _score(0.5, higher=False), "whether more is better"),
    ],
)
def test_a_ratio_that_says_nothing_is_none(child: Score, parent: Score, reason: str) -> None:
    """With the reason."""
    found = Recovery.of(child, parent)
    assert found.value is None
    assert reason in found.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher", [True, False])
def test_a_score_that_is_not_finite_recovers_nan(*, value: float, higher: bool) -> None:
    """Infinity is no good score, whichever is better."""
    found = Recovery.of(_score(value, 0.1, higher=higher), _score(0.5, 0.1, higher=higher))
    assert math.isnan(found.value or 0.0)
    assert found.stderr is None


def test_without_a_standard_error_nothing_is_proved() -> None:
    """Of either score."""
    for pair in ((_score(0.5), _score(0.5, 0.1)), (_score(0.5, 0.1), _score(0.5))):
        assert Recovery.of(*pair).least(0.95) is None


@pytest.mark.parametrize(
    ("kept", "obstacles", "choice"),
    [
        ([Kept.YES], (), Choice.SHIP),
        ([Kept.YES, Kept.NO], (), Choice.DO_NOT_SHIP),
        ([Kept.NO, Kept.UNKNOWN], ("why",), Choice.DO_NOT_SHIP),
        ([Kept.YES, Kept.UNKNOWN], (), Choice.NOT_COMPARABLE),
        ([Kept.YES], ("why",), Choice.NOT_COMPARABLE),
        ([], (), Choice.NOT_COMPARABLE),
    ],
)
def test_the_choice(kept: list[Kept], obstacles: tuple[str, ...], choice: Choice) -> None:
    """Nothing ships that was not compared, and a rule that is broken is said before what is unknown."""
    rules = tuple(JudgedRule(f"rule {at}", one, "said") for at, one in enumerate(kept))
    decision = Decision(rules, obstacles)
    assert choice is decision.choice
    assert decision.line.startswith(choice)
    assert (Kept.NO in kept) == ("said" in decision.line and choice is Choice.DO_NOT_SHIP)
