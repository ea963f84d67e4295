from collections.abc import Sequence

import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Guess, PositionwiseAttacker
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts

_SEARCHING = [one for one in ATTACKERS if one.name not in {"lens", "beam"}]


class _Wrong(PositionwiseAttacker):
    """Names a token next to the true one from a position on, or none."""

    name, source, teacher_forced, free_running = "wrong", "this test", True, True

    def __init__(self, start: int, *, none: bool = False) -> None:
        self.start = start
        self.none = none

    def fits(self, channel: Channel) -> bool:
        return channel.place.everywhere

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        right = view.nearest(prompts).tokens[:, 0]
        if view.position < self.start:
            return Guess.unverified(right)
        wrong = torch.full_like(right, NO_TOKEN) if self.none else (right + 1) % 64
        return Guess.unverified(wrong)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The prefix of every pass over the whole vocabulary."""
    run, seen = OneStepTable.rows, []

    def rows(self: OneStepTable, place: object) -> torch.Tensor:
        if not self._states and self.tokens is None:
            seen.append(tuple(self.prefix.ids.tolist()))
        return run(self, place)  # type: ignore[arg-type]

    monkeypatch.setattr(OneStepTable, "rows", rows)
    return seen


def test_each_prefix_of_the_truth_is_run_once(passes: list[tuple[int, ...]]) -> None:
    """However many releases and attackers look at it, and prompts that share it."""
    prompts = [(1, 2, 3), (1, 2, 4), (5, 2, 3)]
    releases = ["identity", "gaussian(sigma=0.01)", "round(bits=8)", "permute", "rotate(seed=1)"]
    found = attacks(tiny_decoder("llama"), "2", releases, prompts, attackers=_SEARCHING)
    assert {(), (1,), (5,), (1, 2), (5, 2)} == set(passes)
    # A rotation's first tokens are known by their norms alone: its free run may leave the truth.
    assert len(passes) <= 5 + 3
    assert len(found) > 10


def test_attacks_that_went_wrong_go_on_from_their_own_answers(
    passes: list[tuple[int, ...]],
) -> None:
    """Free-running, one mistake is shown to what follows; told the truth it is not."""
    prompts = [(1, 2, 3, 4)]
    found = attacks(
        tiny_decoder("llama"), "1", ["identity"], prompts, attackers=(_Wrong(1),), keep_ids=True
    )
    assert ((1, 3, 4, 5),) == found["identity", "wrong", True].ids
    free = found["identity", "wrong", False].ids[0]
    assert (1, 3) == free[:2]
    assert {(), (1,), (1, 2), (1, 2, 3), free[:2], free[:3]} == set(passes)


def test_without_an_answer_there_is_nothing_to_go_on_from() -> None:
    """The rest of the prompt counts as not recovered; told the truth the attack goes on."""
    found = attacks(
        tiny_decoder("llama"),
        "1",
        ["identity"],
        [(1, 2, 3, 4)],
        attackers=(_Wrong(2, none=True),),
        keep_ids=True,
    )
    assert ((1, 2, -1, -1),) == found["identity", "wrong", False].ids
    assert 0.5 == found["identity", "wrong", False].token_rate
    assert ((1, 2, -1, -1),) == found["identity", "wrong", True].ids


@pytest.mark.parametrize("bytes_", [1, 2**28])
def test_answers_do_not_depend_on_how_many_prompts_run_together(bytes_: int) -> None:
    """The memory for prefixes decides how many prompts run together, and no answer."""
    done: list[int] = []
    release = "gaussian(sigma=0.5)"
    found = attacks(
        tiny_decoder("gpt2"),
        "2",
        [release],
        drawn_prompts(4, 2),
        attackers=(ArgminAttacker(),),
        keep_ids=True,
        cached_bytes=bytes_,
        progress=done.append,
    )
    assert _expected() == found[release, "argmin", True].ids
    # Positions: of one prompt after the other, or the first of all, then the second.
    assert (list(range(1, 9)) if bytes_ == 1 else [4, 8]) == done


def _expected() -> tuple[tuple[int, ...], ...]:
    release = "gaussian(sigma=0.5)"
    found = [
        attacks(
            tiny_decoder("gpt2"),
            "2",
            [release],
            [ids],
            attackers=(ArgminAttacker(),),
            keep_ids=True,
        )[release, "argmin", True].ids[0]
        for ids in drawn_prompts(4, 2)
    ]
    return tuple(found)


def test_a_free_run_shares_the_truths_prefixes(
    passes: list[tuple[int, ...]], decoder: Decoder
) -> None:
    """As long as it makes no mistake it costs no pass of its own."""
    attacks(decoder, "1", ["identity"], [(1, 2, 3)], attackers=(MahalanobisAttacker(),))
    assert [(), (1,), (1, 2)] == passes
