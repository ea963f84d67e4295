import numpy as np
import pytest

from pytest_injectivity.core.strict_json import dumps, loads
from pytest_injectivity.privacy.evaluation.ranks import Ranks
from pytest_injectivity.privacy.evaluation.results import AttackResult, ReleaseResult
from pytest_injectivity.privacy.evaluation.robustness import QUANTILES, Robustness
from pytest_injectivity.privacy.evaluation.spans import SpanRate
from pytest_injectivity.privacy.evaluation.texts import TextScores
from pytest_injectivity.privacy.evaluation.utility import Utility
from pytest_injectivity.results.attack_metrics import TextMatch
from pytest_injectivity.results.releases import Excess, ReleaseSummary
from pytest_injectivity.stats import (
    Trials,
    clopper_pearson,
    clustered_difference,
    clustered_rate,
)
from pytest_injectivity.store.codec import from_bytes, to_bytes

RIGHT = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=bool)
# The first token is given; the third prompt was not read.
JUDGED = np.array([[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
KINDS = np.array([[0, 2, 4, 4], [0, 4, 4, 2], [0, 4, 4, 4]], dtype=np.int8)


# The attacker vouches for one of the six tokens it was asked for.
VERIFIED = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)


def _attack(**values: object) -> AttackResult:
    found = {"right": RIGHT, "judged": JUDGED, "verified": VERIFIED}
    return AttackResult("argmin", "a paper", teacher_forced=True, **(found | values))  # type: ignore[arg-type]


def _result(**values: object) -> ReleaseResult:
    found = {
        "release": "round(bits=4)",
        "place": "4 kv",
        "typical": 0.5,
        "noise": 0.0,
        "kinds": KINDS,
        "attacks": (
            _attack(
                spans=(SpanRate("number", 1, 2),),
                seconds=2.0,
                texts=TextScores((0.5, 0.75), None, "no prompt has four words"),
                ranks=Ranks(np.where(RIGHT, 1, 9), np.array([8.0, 9, 0]), np.array([1.0, 7, 0])),
            ),
        ),
        "utility": Utility((4, 4, 4), (4, 3, 2), (0.1, 0.2, 0.3), (1, 0, 0), (3, 3, 3)),
        "seconds": 1.0,
    }
    return ReleaseResult(**(found | values))  # type: ignore[arg-type]


def test_rates_count_what_the_attacker_was_asked_for() -> None:
    """Known tokens and prompts it was not run on are in no rate."""
    found = _attack()
    assert 4 / 6 == found.token_rate
    assert 1 / 2 == found.prompt_rate
    assert 1 / 6 == found.verified_rate


def test_a_summary_has_the_rates_of_the_result() -> None:
    """All tokens, whole prompts, each position and each kind of token."""
    summary = _attack(spans=(SpanRate("number", 1, 2),)).summary(KINDS, 0.9)
    assert (4, 6, 2) == (summary.tokens.right, summary.tokens.of, summary.prompts)
    assert (1, 2) == (summary.whole.right, summary.whole.of)
    assert 4 / 6 == summary.tokens.value
    by_position = {at: rate.value for at, rate in summary.by_position.items()}
    assert {"1": 0.5, "2": 1.0, "3": 0.5} == by_position
    by_kind = {kind: (rate.right, rate.of) for kind, rate in summary.by_kind.items()}
    assert {"number": (1, 2), "word": (3, 4)} == by_kind
    assert {"number": (1, 2)} == summary.by_span
    assert 1 / 6 == summary.verified


def test_the_excess_is_over_what_is_guessed_of_the_same_prompts() -> None:
    """4 of 6 tokens were read of the first two prompts, and 1 of 6 guessed; the third was not read."""
    guessed = Trials(np.array([1, 0, 3]), np.array([3, 3, 3]))
    excess = _attack().summary(KINDS, 0.95, guessed).excess
    read = Trials(np.array([3, 1]), np.array([3, 3]))
    interval = clustered_difference(read, Trials(guessed.successes[:2], read.trials), 0.95)
    assert Excess(4 / 6 - 1 / 6, interval.low, interval.high) == excess


def test_without_a_guess_there_is_no_excess() -> None:
    """Nothing goes on from some places, and prompts of one token have no next one."""
    assert _attack().summary(KINDS, 0.95).excess is None
    none = Trials(np.zeros(3, dtype=int), np.zeros(3, dtype=int))
    assert _attack().summary(KINDS, 0.95, none).excess is None


def test_intervals_are_clustered_by_prompt() -> None:
    """Tokens in clusters, prompts one by one, at the confidence asked for."""
    for confidence in (0.8, 0.95):
        summary = _attack().summary(KINDS, confidence)
        tokens = clustered_rate(np.array([3, 1]), np.array([3, 3]), confidence)
        assert (tokens.low, tokens.high) == (summary.tokens.low, summary.tokens.high)
        # Words: 2 of 2 in one prompt, 1 of 2 in the other.
        words, found = (
            clustered_rate(np.array([2, 1]), np.array([2, 2]), confidence),
            summary.by_kind,
        )
        assert (words.low, words.high) == (found["word"].low, found["word"].high)
        whole = clopper_pearson(1, 2, confidence)
        assert (whole.low, whole.high) == (summary.whole.low, summary.whole.high)
        first = summary.by_position["1"]
        assert (whole.low, whole.high) == (first.low, first.high)


def test_the_utility_is_summed_up() -> None:
    """Agreement over positions, divergence a position, guesses of the model alone."""
    summary = _result().summary(0.95)
    assert summary.agreement is not None
    assert summary.guessed is not None
    assert 9 / 12 == summary.agreement.value
    assert np.isclose(0.6 / 12, summary.divergence)
    assert 1 / 9 == summary.guessed.value


def test_without_a_utility_it_says_why() -> None:
    """And has no number."""
    summary = _result(utility=None, no_utility="nothing goes on").summary(0.95)
    assert (None, None, None) == (summary.agreement, summary.divergence, summary.guessed)
    assert "nothing goes on" == summary.no_utility


def test_a_divergence_that_is_no_number_is_none() -> None:
    """JSON has no NaN; the agreement stands beside it."""
    broken = Utility((4, 4, 4), (0, 0, 0), (float("nan"), 0.0, 0.0), (0, 0, 0), (0, 0, 0))
    summary = _result(utility=broken).summary(0.95)
    assert summary.divergence is None
    assert summary.agreement is not None
    assert summary.guessed is None


def test_robustness_is_named() -> None:
    """The least, a usual one, and what nothing can change."""
    levels = np.array(QUANTILES)
    found = Robustness(levels, levels * 2, levels * 3, 0.5, 10)
    summary = _result(robustness=found).summary(0.95)
    assert summary.robustness is not None
    assert 1.0 == summary.robustness["worst case median"]
    assert 0.0 == summary.robustness["certified least"]
    assert 0.5 == summary.robustness["share certified"]
    infinite = Robustness(levels, levels, np.full(8, np.inf), 1.0, 10)
    shown = _result(robustness=infinite).summary(0.95).robustness
    assert shown is not None
    assert shown["certified median"] is None


def test_a_store_keeps_it_bit_for_bit() -> None:
    """Arrays and plain data, and no token id among them."""
    levels = np.array(QUANTILES)
    result = _result(robustness=Robustness(levels, levels, levels, 0.5, 10))
    again = from_bytes(to_bytes(result))
    assert result.summary(0.95) == again.summary(0.95)


@pytest.mark.parametrize("utility", [None, _result().utility])
def test_a_summary_survives_json(utility: Utility | None) -> None:
    """What a worker sends is what the controller has."""
    levels = np.array(QUANTILES)
    result = _result(utility=utility, robustness=Robustness(levels, levels, levels, 0.5, 10))
    summary = result.summary(0.95)
    assert summary == loads(ReleaseSummary, dumps(summary))
    assert "round(bits=4)@4 kv" == summary.name


def test_undecided_tokens_raise_the_upper_ends_alone() -> None:
    """They are not read, and an exact search might have read them."""
    undecided = ~RIGHT & JUDGED
    plain, open_ = _attack().summary(KINDS, 0.9), _attack(undecided=undecided).summary(KINDS, 0.9)
    assert (plain.tokens.value, plain.tokens.low) == (open_.tokens.value, open_.tokens.low)
    assert plain.tokens.high <= open_.tokens.high == 1.0
    assert (2, 1.0) == (open_.tokens.undecided, open_.tokens.at_most)
    assert (plain.whole.undecided, open_.whole.undecided) == (0, 1)


def test_texts_and_places_are_summed_up() -> None:
    """Of the prompts that were read; two of six tokens are not the first guess."""
    (found,) = _result().summary(0.95).attacks
    assert found.texts == TextMatch(0.625, None, "no prompt has four words")
    assert found.ranks is not None
    assert (22 / 6, 9 / 6) == (found.ranks.guesses, found.ranks.bits)
