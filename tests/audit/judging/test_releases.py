import math
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_injectivity.audit.checks.not_recoverable import judge_not_recoverable
from pytest_injectivity.audit.checks.utility_kept import judge_use
from pytest_injectivity.audit.judging.hidden import ReadBound, is_hidden
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.releases import AttackSummary, Excess, Rate, ReleaseSummary
from pytest_injectivity.results.verdict import Reason
from tests.results.test_releases import ATTACK, SUMMARY


@dataclass
class _Utility:
    mean_divergence: float = 0.02


@dataclass
class _Exposure:
    """What was measured, as far as a judge asks."""

    found: ReleaseSummary
    utility: Any = None
    seconds: float = 1.5

    def summary(self, confidence: float) -> ReleaseSummary:
        return replace(self.found, confidence=confidence)


def _attack(name: str, low: float, value: float, high: float, **values: Any) -> AttackSummary:
    return replace(
        ATTACK, attacker=name, tokens=Rate(round(1000 * value), 1000, low, high), **values
    )


def _hidden(*attacks: AttackSummary, rate: float = 0.4, confidence: float | None = 0.95) -> Reason:
    exposure: Any = _Exposure(replace(SUMMARY, attacks=attacks))
    return judge_not_recoverable(exposure, ReadBound.of(rate, None), confidence)


def _excess(low: float, value: float, high: float, most: float = 0.1) -> Reason:
    attack = _attack("argmin", 0.9, 0.95, 0.99, excess=Excess(value, low, high))
    exposure: Any = _Exposure(replace(SUMMARY, attacks=(attack,)))
    return judge_not_recoverable(exposure, ReadBound.of(None, most), 0.95)


@pytest.mark.parametrize(
    ("low", "value", "high", "status"),
    [
        (0.2, 0.3, 0.39, "PASS"),
        (0.2, 0.3, 0.4, "PASS"),
        (0.3, 0.35, 0.41, "INSUFFICIENT"),
        (0.39, 0.45, 0.5, "INSUFFICIENT"),
        (0.41, 0.45, 0.5, "FAIL"),
    ],
)
def test_the_upper_bound_is_judged(low: float, value: float, high: float, status: str) -> None:
    """Under the rate it passes; with the lower one above, it fails; else more prompts would tell."""
    assert status == str(_hidden(_attack("argmin", low, value, high)).status)


@pytest.mark.parametrize(
    ("low", "value", "high", "status"),
    [
        (-0.3, -0.2, -0.1, "PASS"),
        (0.0, 0.05, 0.1, "PASS"),
        (0.05, 0.09, 0.11, "INSUFFICIENT"),
        (0.11, 0.2, 0.3, "FAIL"),
    ],
)
def test_the_excess_over_what_is_guessed_is_judged_by_its_upper_bound(
    low: float, value: float, high: float, status: str
) -> None:
    """However much is read: as much as the model guesses is always allowed."""
    reason = _excess(low, value, high)
    assert (status, value, 0.1) == (str(reason.status), reason.value, reason.bound)
    assert "tokens read by argmin, teacher-forced over what is guessed" == reason.quantity


def test_an_excess_says_what_would_pass() -> None:
    """In its own argument; never a bound below 0, which is refused."""
    assert "max_excess of at least 0.3" == _excess(0.11, 0.2, 0.3).would_pass
    assert "max_excess of at least 0" == _excess(-0.3, -0.2, -0.1).would_pass
    assert "proves <= 0.11 over the guess, wants <= 0.1" == _excess(0.05, 0.09, 0.11).headline


def test_each_attacker_is_shown_with_its_excess() -> None:
    """In points, with its sign."""
    evidence = "\n".join(_excess(-0.011, 0.2, 0.3).evidence)
    assert "95 % [90, 99], +20 [-1.1, +30] points over what is guessed; prompts" in evidence


def test_an_excess_over_what_was_not_measured_is_refused() -> None:
    """A cache that nothing goes on from has no guesses."""
    exposure: Any = _Exposure(SUMMARY)
    with pytest.raises(
        OptionError, match=r"max_excess=0.1: what the model guesses was not measured"
    ):
        judge_not_recoverable(exposure, ReadBound.of(None, 0.1), 0.95)


@pytest.mark.parametrize(
    ("rate", "excess", "message"),
    [
        (None, None, "neither was given of max_token_rate= and max_excess="),
        (0.5, 0.1, "both were given of max_token_rate= and max_excess="),
        (None, 1.0, "max_excess=1.0 passes whatever is measured"),
        (None, -0.1, "max_excess=-0.1 is not a fraction"),
    ],
)
def test_one_bound_is_given(rate: float | None, excess: float | None, message: str) -> None:
    """A test is judged by what it says."""
    with pytest.raises(OptionError, match=message):
        ReadBound.of(rate, excess)


def test_without_a_confidence_the_point_is_judged() -> None:
    """As everywhere."""
    attack = _attack("argmin", 0.3, 0.4, 0.5)
    assert "PASS" == str(_hidden(attack, confidence=None).status)
    assert "FAIL" == str(_hidden(attack, rate=0.399, confidence=None).status)


def test_one_attacker_is_enough() -> None:
    """Noise that defeats the ball but not argmin is not private: the strongest decides."""
    ball, argmin = _attack("ball", 0.0, 0.0, 0.07), _attack("argmin", 0.9, 0.95, 0.99)
    for attacks in ((ball, argmin), (argmin, ball)):
        reason = _hidden(*attacks)
        assert "FAIL" == str(reason.status)
        assert "tokens read by argmin, teacher-forced" == reason.quantity
        assert 0.95 == reason.value


def test_every_upper_bound_counts_and_not_the_strongest_points() -> None:
    """An attacker run on few prompts may have read more than it did."""
    few = _attack("beam", 0.0, 0.0, 0.6)
    assert "INSUFFICIENT" == str(_hidden(_attack("argmin", 0.1, 0.2, 0.3), few).status)


def test_what_is_said_to_pass_passes() -> None:
    """Rounded up, in its fourth digit."""
    attacks = _attack("argmin", 0.3, 0.35, 0.4123456789), _attack("beam", 0.1, 0.2, 0.5)
    for confidence in (0.95, None):
        said = _hidden(*attacks, rate=0.1, confidence=confidence).would_pass
        rate = float(said.rpartition(" ")[2])
        assert "PASS" == str(_hidden(*attacks, rate=rate, confidence=confidence).status)
        below = rate * (1 - 2e-3)
        assert "PASS" != str(_hidden(*attacks, rate=below, confidence=confidence).status)


def test_the_words_never_say_private() -> None:
    """A pass is "not broken by these attackers"."""
    reason = _hidden(_attack("argmin", 0.1, 0.2, 0.3), _attack("prior", 0.1, 0.2, 0.3))
    assert "not broken by these 2 attackers" == reason.headline
    shown = " ".join([reason.headline, *reason.evidence])
    assert "private" not in shown


def test_an_undecided_headline_shows_the_bound() -> None:
    """The point alone would look like a pass beside a red word."""
    assert "proves <= 0.45 read, wants <= 0.4" == _hidden(_attack("a", 0.3, 0.35, 0.45)).headline


def test_the_evidence_names_every_attacker() -> None:
    """With its source, its rates, its spans; the strongest by position and kind; the model's guesses."""
    weak = _attack("ball", 0.0, 0.0, 0.07, source="another paper")
    evidence = "\n".join(_hidden(weak, _attack("argmin", 0.9, 0.95, 0.99)).evidence)
    for part in (
        "argmin, teacher-forced (a paper): tokens 950 of 1000, 95 % [90, 99]",
        "ball, teacher-forced (another paper): tokens 0 of 1000",
        "vouched for 10 %; ROUGE-L 0.42, BLEU-4 0.20; whole spans: number 3 of 9",
        "by position, read by argmin, teacher-forced: 0: 50 %, 1: 10 %",
        "by kind of token: word 200 of 600, 33.3 % [30, 37]; number 100 of 400, 25 % [20, 30]",
        "next-token agreement 900 of 1000, 90 % [85, 95], KL 0.02 nats a position",
        "without any state: 200 of 950, 21.1 % [18, 24]",
        "50 prompts of 20 tokens",
    ):
        assert part in evidence
    assert evidence.index("argmin") < evidence.index("ball")


def test_nothing_compared_is_no_pass() -> None:
    """A release that no attacker is made for is not judged well for that."""
    reason = _hidden()
    assert "FAIL" == str(reason.status)
    assert "nothing was compared" in reason.headline
    assert not is_hidden(replace(SUMMARY, attacks=()), 1.0)


def test_a_sweep_judges_as_the_gate_does() -> None:
    """By every upper bound."""
    assert is_hidden(replace(SUMMARY, attacks=(_attack("a", 0.1, 0.2, 0.3),)), 0.3)
    assert not is_hidden(replace(SUMMARY, attacks=(_attack("a", 0.1, 0.2, 0.3),)), 0.29)


def test_machines_have_each_attackers_rate() -> None:
    """In the JSON."""
    reason = _hidden(_attack("a", 0.1, 0.2, 0.3), _attack("b", 0.1, 0.1, 0.3, teacher_forced=False))
    assert {
        "tokens read by a, teacher-forced": 0.2,
        "tokens read by b, free-running": 0.1,
        "agreement": 0.9,
        "divergence": 0.02,
        "perplexity ratio": 1.5,
        "guessed": 200 / 950,
    } == reason.figures


@pytest.mark.parametrize(
    ("wanted", "confidence", "status"),
    [
        (0.9, None, "PASS"),
        (0.901, None, "FAIL"),
        (0.85, 0.95, "PASS"),
        (0.9, 0.95, "INSUFFICIENT"),
        (0.96, 0.95, "FAIL"),
    ],
)
def test_the_agreement_is_judged(wanted: float, confidence: float | None, status: str) -> None:
    """By its point, or by what the sample proves."""
    exposure: Any = _Exposure(SUMMARY, _Utility())
    reason = judge_use(exposure, wanted, confidence)
    assert status == str(reason.status)
    assert "next-token agreement" == reason.quantity
    assert "min_agreement of at most 0.9" == reason.would_pass


def test_a_pass_that_gives_no_numbers_fails() -> None:
    """However well it seems to agree."""
    exposure: Any = _Exposure(replace(SUMMARY, divergence=None), _Utility(math.nan))
    reason = judge_use(exposure, 0.0, None)
    assert "FAIL" == str(reason.status)
    assert "gives no numbers" in reason.headline


def test_no_utility_cannot_be_judged() -> None:
    """It is said why there is none."""
    bare = replace(SUMMARY, agreement=None, divergence=None, no_utility="a part of the cache")
    exposure: Any = _Exposure(bare)
    with pytest.raises(OptionError, match="has no utility to judge: a part of the cache"):
        judge_use(exposure, 0.5, None)


def test_the_perturbation_that_changes_the_nearest_token_is_shown_where_it_was_measured() -> None:
    """A release without that number has no line on it; a part that was not measured is left out."""
    attack = _attack("argmin", 0.1, 0.2, 0.3)
    assert not any("perturbation" in line for line in _hidden(attack).evidence)
    measured = replace(SUMMARY, attacks=(attack,), robustness={"median": 0.25, "least": None})
    exposure: Any = _Exposure(measured)
    evidence = judge_not_recoverable(exposure, ReadBound.of(0.4, None), 0.95).evidence
    assert "perturbation that changes the nearest token: median 0.25" in evidence


def test_what_is_judged_is_a_release() -> None:
    """Reports count releases, not layers."""
    assert "release" == _hidden().unit == _hidden(_attack("argmin", 0.1, 0.2, 0.3)).unit


def test_undecided_tokens_count_as_read_where_point_values_are_judged() -> None:
    """What a pruned search was not shown is not shown to be hidden."""
    attack = _attack("argmin", 0.2, 0.3, 0.7)
    undecided = replace(attack, tokens=replace(attack.tokens, undecided=200))
    assert "PASS" == _hidden(attack, confidence=None).status
    assert "FAIL" == _hidden(undecided, confidence=None).status


def test_a_verdict_says_that_all_candidates_were_compared() -> None:
    """Whoever reads a rate knows whether more might have been read."""
    evidence = _hidden(_attack("argmin", 0.2, 0.3, 0.39)).evidence
    assert any(line.startswith("exact: ") for line in evidence)


def test_a_verdict_says_what_a_pruned_search_left_out() -> None:
    """The candidates of a position, the true tokens that were none, and what is undecided."""
    attack = _attack("argmin", 0.2, 0.3, 0.39, compared=70.4, left_out=20)
    (line,) = (one for one in _hidden(attack).evidence if one.startswith("pruned: "))
    assert "70 likely candidates" in line
    assert "20 of 1000 positions (2 %)" in line
