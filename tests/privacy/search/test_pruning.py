"""Tables of likely candidates, and what a pruned search says of what it may have missed."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

VOCAB, LENGTH = 64, 4
PROMPTS = drawn_prompts(4, LENGTH, vocab=VOCAB)
PRACTICE = drawn_prompts(60, LENGTH, vocab=VOCAB, seed=1)
PREFIXES = 1 + 4 * (LENGTH - 1)
RELEASES = (
    "identity",
    "gaussian(sigma=0.3 rel)",
    "gaussian(sigma=2 rel)",
    "lowrank(rank=2, sigma=2 rel)",
    "round(bits=3)",
)
PRUNING = [one for one in ATTACKERS if one.name in {"argmin", "ball", "mahalanobis", "prior"}]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("llama", vocab=VOCAB)


def _run(
    decoder: Decoder,
    budget: int | None,
    *,
    releases: Sequence[str] = ("identity",),
    practice: Sequence[Sequence[int]] = PRACTICE,
    free_running: int = 0,
) -> dict[tuple[str, str, bool], AttackResult]:
    sent = case(decoder, "2", releases, PROMPTS, practice=practice)
    found = run_attacks(
        decoder,
        [sent],
        seed=0,
        attackers=PRUNING,
        free_running=free_running,
        budget=budget,
        first_round=3,
        keep_ids=True,
    )
    return by_name(found)


def _at_most(result: AttackResult) -> np.ndarray:
    return result.right if result.undecided is None else result.right | result.undecided


@cache
def _exact(release: str) -> dict[tuple[str, str, bool], AttackResult]:
    return _run(tiny_decoder("llama", vocab=VOCAB), None, releases=[release])


def test_a_budget_that_has_room_for_all_changes_nothing(decoder: Decoder) -> None:
    """The whole vocabulary is compared, and the results say so."""
    exact, found = _exact("identity"), _run(decoder, 100 * PREFIXES * VOCAB)
    assert [one.ids for one in exact.values()] == [one.ids for one in found.values()]
    assert {None} == {one.compared for one in (*exact.values(), *found.values())}


def test_fewer_candidates_are_compared_and_the_results_say_how_many(decoder: Decoder) -> None:
    """Of identity nearly the first ones suffice."""
    found = _run(decoder, 20 * PREFIXES)
    compared = [one.compared for one in found.values()]
    assert all(one is not None and one < VOCAB / 2 for one in compared)


def test_what_a_pruned_search_finds_is_verified_by_its_distance(decoder: Decoder) -> None:
    """Without noise an answer within reach is the token; all others are undecided."""
    found = _run(decoder, 20 * PREFIXES)
    ball, argmin = found["identity", "ball", True], found["identity", "argmin", True]
    assert ball.token_rate > 0.5
    assert (ball.verified == ball.right).all()
    assert _at_most(argmin).all()


@settings(max_examples=4)
@given(
    release=st.sampled_from(RELEASES),
    budget=st.integers(1, 16 * PREFIXES),
    practice=st.sampled_from([(), PRACTICE]),
)
def test_the_upper_bound_holds_what_an_exact_search_reads(
    release: str, budget: int, practice: Sequence[Sequence[int]], decoder: Decoder
) -> None:
    """At every position along the truth, whatever was left out: brute force reads no token more."""
    exact, found = _exact(release), _run(decoder, budget, releases=[release], practice=practice)
    missed = [int((exact[key].right & ~_at_most(one)).sum()) for key, one in found.items()]
    assert [0] * len(PRUNING) == missed


def test_undecided_tokens_are_wrong_and_were_left_out(decoder: Decoder) -> None:
    """An answer that was seen is decided."""
    found = _run(decoder, PREFIXES, releases=["gaussian(sigma=2 rel)"], practice=())
    assert found
    for one in found.values():
        assert one.undecided is not None
        assert one.left_out is not None
        assert not (one.undecided & (one.right | ~one.left_out)).any()


def test_the_truth_is_no_candidate_because_it_is_the_truth(decoder: Decoder) -> None:
    """States of another model rank tokens by chance: most of the true ones are never run."""
    sender = tiny_decoder("llama", vocab=VOCAB, seed=5)
    sent = case(sender, "2", ["identity"], PROMPTS, attacker=decoder)
    found = run_attacks(decoder, [sent], seed=0, attackers=PRUNING[:1], budget=1, first_round=2)
    left_out = by_name(found)["identity", "ball", True].left_out
    assert left_out is not None
    assert left_out[:, 1:].mean() > 0.3


def test_a_free_run_is_undecided_from_its_first_undecided_token_on(decoder: Decoder) -> None:
    """An exact search would have gone on from the true token there."""
    noise = "gaussian(sigma=2 rel)"
    result = _run(decoder, PREFIXES, releases=[noise], practice=(), free_running=4)
    free = {key: one for key, one in result.items() if not key[2]}
    assert free
    for one in free.values():
        assert one.undecided is not None
        later = np.logical_or.accumulate(one.undecided, axis=1) & one.judged
        assert not (later & ~one.right & ~one.undecided).any()
