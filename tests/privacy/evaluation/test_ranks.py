import numpy as np
import pytest

from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.ranks import Ranks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.stats import clustered_rate
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

VOCAB = 24
NOISE = "gaussian(sigma=1.5 rel)"
PLACES = np.array([[1, 2, 20], [3, 1, 1]])
ASKED = np.array([[0, 1, 1], [1, 1, 1]], dtype=bool)
NONE = np.zeros_like(ASKED)


def _summary(left_out: np.ndarray = NONE):  # type: ignore[no-untyped-def] # noqa: ANN202
    found = Ranks(PLACES, np.array([10.0, 9.0]), np.array([2.0, 6.0]))
    return found.summary(ASKED, left_out, 0.9)


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, bool], AttackResult]:
    """Every attacker, on releases that each of them is made for some of."""
    decoder = tiny_decoder("llama", vocab=VOCAB)
    prompts = drawn_prompts(4, 3, vocab=VOCAB)
    others = [ids for ids in drawn_prompts(60, 3, vocab=VOCAB, seed=1) if ids not in prompts]
    asked = {
        "2": [NOISE, "rotate", f"mix(over=coordinates)|{NOISE}", "mix"],
        "2 kv": [f"round(bits=8)|{NOISE}"],
    }
    cases = [
        case(decoder, place, releases, prompts, practice=others[:40], known=others[40:], queries=2)
        for place, releases in asked.items()
    ]
    return by_name(run_attacks(decoder, cases, seed=0, free_running=2))


def test_the_true_token_is_first_where_the_answer_is_right_and_nowhere_else(
    found: dict[tuple[str, str, bool], AttackResult],
) -> None:
    """Of every attacker that orders tokens: the order is the one that it answers by."""
    ordered = {key: one for key, one in found.items() if one.ranks is not None}
    assert len({name for _, name, _ in ordered}) > 8
    for key, one in ordered.items():
        assert one.ranks is not None
        assert ((one.ranks.places == 1) == one.right).all(), key
        assert ((one.ranks.places >= 1) & (one.ranks.places <= VOCAB)).all(), key


def test_attackers_that_order_nothing_or_run_free_have_no_ranks(
    found: dict[tuple[str, str, bool], AttackResult],
) -> None:
    """Behind wrong answers the place of a true token says little."""
    without = {name for (_, name, told), one in found.items() if told and one.ranks is None}
    # Who may have no answer, and who answers again in the end.
    assert {"ball", "procrustes"} <= without
    assert {None} == {one.ranks for (_, _, told), one in found.items() if not told}


def test_the_place_is_that_of_a_full_sort() -> None:
    """By the distances of all candidates to the released row."""
    decoder = tiny_decoder("llama", vocab=VOCAB)
    prompts = drawn_prompts(2, 3, vocab=VOCAB)
    found = by_name(run_attacks(decoder, [case(decoder, "0", [NOISE], prompts)], seed=0))
    sent = case(decoder, "0", [NOISE], prompts)
    (released, *_) = sent.observed.released(sent.releases[NOISE], 0)
    away = (released[:, None] - decoder.embedding_matrix()[None]).double().norm(dim=2)
    order = away.argsort(dim=1).tolist()
    expected = [1 + one.index(token) for one, token in zip(order, prompts[0], strict=True)]
    ranks = found[NOISE, "argmin", True].ranks
    assert ranks is not None
    assert expected == ranks.places[0].tolist()


def test_a_token_that_was_not_compared_comes_after_all_that_were() -> None:
    """A pruned search does not know its place."""
    decoder, noise = tiny_decoder("llama"), "gaussian(sigma=8 rel)"
    sent = case(decoder, "2", [noise], drawn_prompts(4, 3))
    found = by_name(run_attacks(decoder, [sent], seed=0, budget=1, first_round=2))
    one = found[noise, "argmin", True]
    assert one.left_out is not None
    assert one.ranks is not None
    assert one.left_out.any()
    assert (one.ranks.places[one.left_out] > 2).all()
    summary = one.summary(np.zeros((4, 3), dtype=np.int8), 0.95).ranks
    assert summary is not None
    assert summary.at_least


def test_the_summary_counts_what_was_asked_for() -> None:
    """Places 2, 20, 3, 1, 1 of five tokens."""
    found = _summary()
    assert (27 / 5, 2.0, False) == (found.guesses, found.median, found.at_least)
    assert {"10": (4, 5), "100": (5, 5)} == {
        most: (rate.right, rate.of) for most, rate in found.first.items()
    }
    rate = clustered_rate(np.array([1, 3]), np.array([2, 3]), 0.9)
    assert (rate.low, rate.high) == (found.first["10"].low, found.first["10"].high)
    assert pytest.approx((11 / 5, 19 / 5)) == (found.bits, found.entropy)
    assert found.bits_low is not None
    assert found.bits_low < found.bits


def test_what_was_not_compared_is_among_no_first_guesses() -> None:
    """Its place is a lower bound, and so is the mean."""
    left_out = NONE.copy()
    left_out[0, 1] = True
    found = _summary(left_out)
    assert found.at_least
    assert 3 == found.first["10"].right
    assert str(found).startswith("at least 5.4 guesses a token (median 2), 60 % in 10")
