from itertools import product

import pytest
import torch

from pytest_injectivity.privacy.attackers.joint_search import JointSearchAttacker
from pytest_injectivity.privacy.releases.protocol import draws
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, case, drawn_prompts


@pytest.mark.parametrize(
    ("place", "length"), [("2 last", 1), ("norm last", 2), ("2 last", 3), ("1 mean", 3)]
)
def test_the_last_row_gives_a_short_prompt_away(place: str, length: int) -> None:
    """All combinations of a small vocabulary."""
    decoder, prompts = tiny_decoder("llama", vocab=12), drawn_prompts(2, length, vocab=12)
    found = attacks(decoder, place, ["identity"], prompts, attackers=(JointSearchAttacker(),))
    assert {("identity", "joint search", True), ("identity", "joint search", False)} == set(found)
    assert [1.0, 1.0] == [one.prompt_rate for one in found.values()]
    assert [1.0, 1.0] == [one.verified_rate for one in found.values()]


def test_every_second_row_gives_the_tokens_between_away() -> None:
    """Prompts of even and odd length: the first gap is as long as is left."""
    decoder = tiny_decoder("gpt2", vocab=24)
    prompts = [*drawn_prompts(1, 2, vocab=24), *drawn_prompts(1, 3, vocab=24)]
    found = attacks(decoder, "2 every=2", ["identity"], prompts, attackers=(JointSearchAttacker(),))
    assert [1.0, 1.0] == [one.prompt_rate for one in found.values()]


def test_a_party_of_two_reads_what_the_other_holds() -> None:
    """Two tokens that it does not see, with the first of its own; the next one has no gap before it."""
    decoder, prompts = tiny_decoder("gpt2", vocab=12), drawn_prompts(2, 4, vocab=12)
    shard = "2 every=2 run=2"
    found = attacks(decoder, shard, ["identity"], prompts, attackers=(JointSearchAttacker(),))
    assert [1.0, 1.0] == [one.prompt_rate for one in found.values()]


@pytest.mark.parametrize("release", ["gaussian(sigma=0.5)", "lowrank(rank=3, sigma=4)"])
def test_few_combinations_are_all_tried(release: str) -> None:
    """The nearest of all, in the noise's own metric, by brute force."""
    decoder, prompts = tiny_decoder("gpt2", vocab=12), drawn_prompts(2, 2, vocab=12)
    found = attacks(decoder, "1 last", [release], prompts, keep_ids=True)
    sent = case(decoder, "1 last", [release], prompts)
    one = sent.releases[release]
    every = torch.tensor(list(product(range(12), repeat=2)))
    states = decoder.states(every, [1])[1][:, -1].double()
    assert 2 == len(sent.observed.rows)
    for ids, rows, named in zip(
        prompts, sent.observed.rows, found[release, "joint search", False].ids, strict=True
    ):
        apart = states - one.apply(rows, draws(0, ids)).double()
        inverse = torch.linalg.inv(one.noise.covariance(sent.nu[1]))  # type: ignore[index]
        best = torch.einsum("vi,ij,vj->v", apart, inverse, apart).argmin()
        assert tuple(every[best].tolist()) == named


@pytest.mark.parametrize(("place", "length"), [("2 last", 2), ("2 every=2", 4)])
def test_many_combinations_are_searched_by_coordinate_descent(place: str, length: int) -> None:
    """Without trying all of them most tokens are found, and those vouched for are right."""
    decoder, prompts = tiny_decoder("llama", vocab=40), drawn_prompts(4, length, vocab=40)
    descent = JointSearchAttacker(exhaustive=0)
    found = attacks(decoder, place, ["identity"], prompts, attackers=(descent,), free_running=0)[
        "identity", "joint search", True
    ]
    assert found.token_rate > 0.7
    assert found.verified.any()
    assert found.right[found.verified].all()


@pytest.mark.parametrize("place", ["1 last", "1 every=2"])
def test_known_tokens_are_no_part_of_a_gap(place: str) -> None:
    """A special token before every prompt is neither searched nor counted."""
    prompts = [(0, *ids) for ids in drawn_prompts(2, 2, vocab=12)]
    decoder = tiny_decoder("gpt2", vocab=12)
    found = attacks(
        decoder, place, ["identity"], prompts, known=(0,), attackers=(JointSearchAttacker(),)
    )
    assert [1.0, 1.0] == [one.prompt_rate for one in found.values()]
    assert [[False, True, True]] * 2 == next(iter(found.values())).judged.tolist()


def test_rows_too_far_apart_are_not_attacked() -> None:
    """Gaps of more than three tokens and caches have no attack."""
    decoder = tiny_decoder("gpt2")
    for place, length in (
        ("1 every=4", 8),
        ("1 every=2 run=3", 8),
        ("1 last", 4),
        ("1 kv last", 2),
    ):
        assert not attacks(
            decoder,
            place,
            ["identity"],
            drawn_prompts(2, length),
            attackers=(JointSearchAttacker(),),
        )
