"""At no step of a training the margin is smaller than its first value by more than a factor."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, GateFailure, LayerError, OptionError, Status
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, plant_nan, save_checkpoint, tiny_decoder
from tests import brute_force
from tests.audits import audit_of

IDS = [[0, at] for at in range(64)]
Training = Callable[[Sequence[float]], Audit]


def _decoder(spread: float) -> Decoder:
    """Of tokens that lie about ``spread`` around a point."""
    tokens = spread * torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    tokens[:, 0] += 8.0
    return additive_decoder(tokens, torch.zeros(64, 16))


def _audit(folder: Path, decoders: Sequence[Decoder], ids: Sequence[Sequence[int]] = IDS) -> Audit:
    """The last of decoders that were written every ten steps."""
    for at, one in enumerate(decoders):
        save_checkpoint(one, folder / "run" / f"checkpoint-{10 * at}")
    config = audit_of(folder, decoders[-1], ids).config
    last = str(folder / "run" / f"checkpoint-{10 * (len(decoders) - 1)}")
    return Audit(AuditConfig(**{**vars(config), "model": last}))


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Audits of a training whose tokens are spread so far at each step."""
    return lambda spreads: _audit(tmp_path, [_decoder(one) for one in spreads])


def test_a_margin_that_holds_is_green(training: Training) -> None:
    """Where it grows, and where it falls by no more than the factor."""
    audit = training([1.0, 2.0, 0.7])
    assert audit.check_stable_along_training(1, 2.0).passed
    assert audit.check_stable_along_training(1, 2.0, number="colipschitz").passed


@pytest.mark.parametrize("number", ["margin", "colipschitz"])
def test_a_margin_that_falls_is_red(training: Training, number: str) -> None:
    """At a step in the middle: layer, step, value and first value are named."""
    audit = training([1.0, 0.1, 1.1])
    verdict = audit.check_stable_along_training(1, 2.0, number=number)
    (reason,) = verdict.reasons
    assert (Status.FAIL, "layer01") == (reason.status, reason.where)
    assert verdict.first_line.startswith("FAIL stable_along_training layer01: step 10's ")
    assert reason.evidence[0].startswith("step 10: ")
    assert "the smallest after step 0's" in reason.evidence[0]
    assert (10, 0) == (reason.figures["step"], reason.figures["reference_step"])
    assert reason.value == pytest.approx(reason.figures["value"] / reason.figures["reference"])
    assert "3 checkpoints, from step 0 to step 20" in verdict.text


@pytest.mark.slow
def test_values_are_those_of_brute_force(training: Training) -> None:
    """The quantile of nearest distances over the mean norm, at both steps."""
    audit = training([1.0, 0.5])
    figures = audit.check_stable_along_training(1, 1.0, q=0.0).reasons[0].figures
    expected = [_least(audit, step) for step in (0, 10)]
    assert expected == pytest.approx([figures["reference"], figures["value"]], rel=1e-12)


def _least(audit: Audit, step: int) -> float:
    rows = audit.along_training().at[step].states(1)
    nearest, _ = brute_force.nearest(rows)
    return float(nearest.min() / brute_force.norms(rows).mean())


@pytest.mark.slow
def test_what_would_have_passed_does(training: Training) -> None:
    """The factor that is named, and hardly less."""
    audit = training([1.0, 0.3, 0.2])
    named = audit.check_stable_along_training(1, 1.0).reasons[0].would_pass
    factor = float(named.removeprefix("within of at least "))
    assert audit.check_stable_along_training(1, factor).passed
    assert not audit.check_stable_along_training(1, 0.999 * factor).passed


@pytest.mark.slow
def test_the_interval_is_wider_the_more_steps_were_looked_at(training: Training) -> None:
    """The smallest of many ratios was chosen."""
    audit = training([1.0, 0.5, 0.9, 0.8, 0.7])
    few = {0: _step(audit, 0), 10: _step(audit, 10)}
    alone = audit.check_stable_along_training(1, 4.0, checkpoints=few).reasons[0]
    chosen = audit.check_stable_along_training(1, 4.0).reasons[0]
    assert alone.value == chosen.value
    assert alone.interval is not None
    assert chosen.interval is not None
    assert chosen.interval.low < alone.interval.low < alone.value < alone.interval.high
    assert 0.95 == chosen.interval.confidence


def _step(audit: Audit, step: int) -> str:
    return str(Path(audit.config.model).with_name(f"checkpoint-{step}"))


@pytest.mark.parametrize(("within", "status"), [(1.1, Status.FAIL), (100.0, Status.PASS)])
def test_confidence_judges_what_is_proved(
    training: Training, within: float, status: Status
) -> None:
    """Over all steps together."""
    audit = training([1.0, 0.2, 0.9])
    found = audit.check_stable_along_training(1, within, confidence=0.95)
    assert status is found.status


@pytest.mark.slow
def test_what_is_not_proved_is_insufficient(tmp_path: Path) -> None:
    """A ratio just on the right side of its bound."""
    steps = [tiny_decoder("gpt2", seed=seed) for seed in (2, 1)]
    audit = _audit(tmp_path, steps, [[at, at + 1, 9] for at in range(40)])
    value = audit.check_stable_along_training(1, 1.0).reasons[0].value
    within = 1.001 / value
    assert audit.check_stable_along_training(1, within).passed
    proved = audit.check_stable_along_training(1, within, confidence=0.95)
    assert Status.INSUFFICIENT is proved.status


def test_steps_before_one_are_left_out(training: Training) -> None:
    """The first that is left is what others are compared with."""
    audit = training([1.0, 0.1, 0.2])
    assert not audit.check_stable_along_training(1, 2.0)
    later = audit.check_stable_along_training(1, 2.0, from_step=5)
    assert later.passed
    assert 10 == later.reasons[0].figures["reference_step"]


def test_a_state_that_is_no_number_is_red(tmp_path: Path) -> None:
    """With its step, though the last one is sound."""
    steps = [tiny_decoder("gpt2", seed=seed) for seed in (0, 1, 2)]
    plant_nan(steps[1], 2)
    audit = _audit(tmp_path, steps, IDS[:8])
    verdict = audit.check_stable_along_training([1, 2], 1e6)
    assert [Status.PASS, Status.FAIL] == [one.status for one in verdict.reasons]
    assert verdict.reasons[1].headline.startswith("step 10: 8 of 8 rows are not finite")


def test_states_that_are_equal_at_first_are_red(tmp_path: Path) -> None:
    """Nothing falls below 0, so nothing would be compared."""
    same = additive_decoder(torch.ones(64, 16), torch.zeros(64, 16))
    verdict = _audit(tmp_path, [same, _decoder(1.0)]).check_stable_along_training(1, 1e6)
    assert "step 0: margin 0, nothing to compare with" in verdict.first_line
    assert math.isnan(verdict.reasons[0].value)


def test_states_that_become_equal_are_red(tmp_path: Path) -> None:
    """Whatever the factor is."""
    same = additive_decoder(torch.ones(64, 16), torch.zeros(64, 16))
    audit = _audit(tmp_path, [_decoder(1.0), same])
    for_any = audit.check_stable_along_training(1, 1e300)
    assert (Status.FAIL, 0.0) == (for_any.status, for_any.reasons[0].value)
    assert for_any.reasons[0].would_pass.startswith("no factor")
    assert Status.FAIL is audit.check_stable_along_training(1, 9.0, confidence=0.9).status


def test_layers_have_their_own_factors(tmp_path: Path) -> None:
    """And the worst one is named."""
    steps = [tiny_decoder("gpt2", seed=seed) for seed in (1, 2)]
    audit = _audit(tmp_path, steps, IDS[:8])
    verdict = audit.check_stable_along_training(within={1: 1e6, "norm": 1e6})
    assert ["layer01", "norm"] == [one.where for one in verdict.reasons]
    with pytest.raises(LayerError):
        audit.check_stable_along_training(7, 2.0)


WRONG = {
    "a factor below 1": ({"within": 0.5}, "within=0.5 is not a factor"),
    "no factor": ({}, "within is not given"),
    "no limit": ({"within": math.inf}, "within=inf is not a factor"),
    "a number that is not there": ({"within": 2, "number": "norm"}, "give one of margin, colip"),
    "one step": ({"within": 2, "from_step": 10}, "from_step=10 leaves 1 of 2 checkpoints"),
    "no step": ({"within": 2, "from_step": 11}, "leaves 0 of 2 checkpoints"),
    "no step at all": ({"within": 2, "from_step": -1}, "from_step=-1: give an integer"),
    "a quantile": ({"within": 2, "q": 2}, "q=2 is not a fraction"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_use_is_refused(training: Training, wrong: str) -> None:
    """Nothing passes because it compared nothing."""
    given, said = WRONG[wrong]
    with pytest.raises(OptionError, match=said):
        training([1.0, 1.0]).check_stable_along_training(1, **given)


def test_a_step_that_is_another_one_is_refused(training: Training) -> None:
    """A typing error in a mapping is not green."""
    audit = training([1.0, 1.0])
    with pytest.raises(OptionError, match="steps 0 and 10 have the same weights"):
        audit.check_stable_along_training(1, 2.0)
    with pytest.raises(OptionError, match="steps 0 and 10 are both"):
        audit.check_stable_along_training(
            1, 2.0, checkpoints=dict.fromkeys((0, 10), audit.config.model)
        )


def test_too_few_prompts_are_refused(tmp_path: Path) -> None:
    """Half of three is no pair."""
    audit = _audit(tmp_path, [_decoder(1.0), _decoder(1.0)], IDS[:3])
    with pytest.raises(OptionError, match="3 prompts: at least 4 are needed to compare two steps"):
        audit.check_stable_along_training(1, 2.0)


def test_the_assertion_raises(training: Training) -> None:
    """With the verdict's text."""
    with pytest.raises(GateFailure, match="FAIL stable_along_training layer01: step 10's"):
        training([1.0, 0.1]).assert_stable_along_training(1, 2.0)
