from itertools import permutations

import pytest
import torch

from pytest_injectivity.inversion.one_step import OneStep, distances_from_each
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.attackers.matching import MatchingAttacker
from pytest_injectivity.privacy.releases.protocol import draws
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, case, drawn_prompts


@pytest.mark.parametrize(
    ("place", "release"),
    [("1", "permute"), ("norm", "permute|round(bits=10)"), ("2 kv", "permute")],
)
def test_shuffled_rows_are_put_in_order(place: str, release: str) -> None:
    """The one-step map of a position has a candidate near its own row and near no other."""
    attackers = (MatchingAttacker(),)
    found = attacks(
        tiny_decoder("llama"), place, [release], drawn_prompts(2, 4), attackers=attackers
    )
    assert {("matching", True), ("matching", False)} == {key[1:] for key in found}
    assert [1.0, 1.0] == [one.prompt_rate for one in found.values()]


def test_teacher_forced_rows_are_assigned_all_at_once() -> None:
    """The assignment has the smallest sum of distances over all orders, by brute force."""
    decoder, release, prompts = (
        tiny_decoder("gpt2"),
        "permute|gaussian(sigma=0.8)",
        drawn_prompts(2, 4),
    )
    found = attacks(
        decoder, "1", [release], prompts, attackers=(MatchingAttacker(),), keep_ids=True
    )
    sent = case(decoder, "1", [release], prompts)
    one = sent.releases[release]
    assert 2 == len(sent.observed.rows)
    for ids, rows, named in zip(
        prompts, sent.observed.rows, found[release, "matching", True].ids, strict=True
    ):
        released = one.apply(rows, draws(0, ids))
        tables = [
            OneStep.of(decoder, 1, ids[:at])(torch.arange(decoder.vocab_size)) for at in range(4)
        ]
        squared = torch.stack([distances_from_each(table, released).square() for table in tables])
        costs, tokens = squared.min(dim=2)
        best = min(
            permutations(range(4)),
            key=lambda order: sum(float(costs[at, row]) for at, row in enumerate(order)),
        )
        assert tuple(int(tokens[at, row]) for at, row in enumerate(best)) == named


def test_shuffling_and_noise_hide_more_than_noise() -> None:
    """Matching shuffled rows reads fewer tokens than the best attacker of ordered rows."""
    prompts = drawn_prompts(6, 5)
    releases = ["gaussian(sigma=1)", "permute|gaussian(sigma=1)"]
    attackers = (MahalanobisAttacker(), MatchingAttacker())
    found = attacks(
        tiny_decoder("gpt2"), "1", releases, prompts, attackers=attackers, free_running=0
    )
    shuffled = found[releases[1], "matching", True].token_rate
    assert shuffled < found[releases[0], "mahalanobis", True].token_rate
