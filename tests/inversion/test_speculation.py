from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.limits import InversionLimits
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.recovery import Inversion, Recovery, Status
from pytest_injectivity.inversion.sipit import SipIt, recover, recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, plant_equal_embeddings, tiny_decoder

Floor = Callable[[Tensor], float]
Prompts = Sequence[Sequence[int]]


def drawn(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(64, (length,), generator=generator).tolist() for length in lengths]


def inverted(
    decoder: Decoder, prompts: Prompts, floor: Floor, layer: Any = 2, **asked: Any
) -> Inversion:
    states = [observe(decoder, ids, [layer])[layer] for ids in prompts]
    asked = {"eps": max(map(floor, states)), "certify": 100, **asked}
    return recover_all(decoder, states, layer, **asked)


def told(found: Inversion) -> list[list[tuple[Any, ...]]]:
    """What a policy may not change."""
    return [[(o.position, o.token, o.status) for o in one.outcomes] for one in found.recoveries]


@settings(max_examples=5)
@given(
    family=st.sampled_from(["gpt2", "llama", "gpt_neo", "gemma3_text"]),
    lengths=st.lists(st.integers(1, 16), min_size=1, max_size=6),
    seed=st.integers(0, 99),
    layer=st.sampled_from([0, 1, 2, "norm"]),
)
def test_prompts_of_mixed_lengths_come_back_together(
    floor: Floor, family: str, lengths: list[int], seed: int, layer: Any
) -> None:
    """Single tokens, prompts longer than a sliding window and as long as the context: one call."""
    decoder = tiny_decoder(family, seed=seed, context=16)
    prompts = drawn(*lengths, 16, 1, seed=seed)
    found = inverted(decoder, prompts, floor, layer, certify=0)
    assert all(map(Recovery.exact, found.recoveries, prompts))
    assert {Status.CERTIFIED} == {one.outcomes[0].status for one in found.recoveries}


def turn_the_lens_around(monkeypatch: pytest.MonkeyPatch, vocab: int) -> None:
    """The least likely token of a vocabulary comes first."""
    rank, behind = Lens.rank, Lens.rank_behind
    monkeypatch.setattr(
        Lens, "rank", lambda self, queries, count: rank(self, queries, vocab).flip(1)[:, :count]
    )
    monkeypatch.setattr(
        Lens,
        "rank_behind",
        lambda self, state, tokens, computed, count, **named: behind(
            self, state, tokens, computed, vocab, **named
        ).flip(0)[:count],
    )


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_a_lens_that_is_wrong_costs_time_and_nothing_else(
    family: str, floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least likely token first, always: the same words, for more tests."""
    decoder, prompts = tiny_decoder(family), drawn(9, 4, 9)
    expected = inverted(decoder, prompts, floor)
    turn_the_lens_around(monkeypatch, 64)
    found = inverted(decoder, prompts, floor)
    assert told(expected) == told(found)
    assert all(map(Recovery.exact, found.recoveries, prompts))
    assert found.candidates_per_token > 3 * expected.candidates_per_token


def test_what_the_model_expects_is_found_early_though_the_lens_is_wrong(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that the model itself continues with are in the second shortlist of each position."""
    decoder = tiny_decoder(vocab=512)
    ids = [300]
    for _ in range(9):
        ids.append(int(decoder.next_token_logits(torch.tensor(ids)).argmax()))
    turn_the_lens_around(monkeypatch, 512)
    found = inverted(decoder, [ids], floor, certify=0)
    limits = InversionLimits()
    (tried,) = [[o.tried for o in one.outcomes[1:]] for one in found.recoveries]
    assert found.recoveries[0].exact(ids)
    assert max(tried) == 1 + 3 * limits.shortlist
    assert min(tried) > 1


def test_right_guesses_are_run_once(floor: Floor) -> None:
    """Where the lens is never wrong a token costs one token-forward, the table's position included."""
    rows = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    decoder = additive_decoder(rows, torch.zeros(20, 16))
    found = inverted(decoder, drawn(20, 20, 7), floor, certify=0)
    assert (47, 0) == (found.forwards, found.certificates)
    assert 1.0 == found.forwards_per_token
    assert {0} == set(found.ranks)
    assert 44 == len(found.ranks)


def test_every_token_run_is_counted(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the passes, without padding, and those of the certificates apart."""
    run = {"continued": 0, "candidates": 0}
    decoder, prompts = tiny_decoder("llama", seed=3), drawn(12, 12, 5)
    states = [observe(decoder, ids, [2])[2] for ids in prompts]
    sipit = SipIt(decoder, 2, eps=max(map(floor, states)))
    sipit.calibrate(states)
    continued, candidates = Decoder.continued, Decoder.candidates

    def counting(self: Decoder, prefixes: Any, rows: Any, ids: Tensor, **named: Any) -> Any:
        run["continued"] += ids.numel()
        return continued(self, prefixes, rows, ids, **named)

    def counting_candidates(self: Decoder, prefix: Any, tokens: Tensor, *rest: Any) -> Any:
        run["candidates"] += len(tokens)
        return candidates(self, prefix, tokens, *rest)

    monkeypatch.setattr(Decoder, "continued", counting)
    monkeypatch.setattr(Decoder, "candidates", counting_candidates)
    found = sipit.recover(states)
    # Long shortlists are a matter of one prompt each.
    assert 29 <= sipit.work.forwards <= run["continued"] + run["candidates"]
    run["candidates"] = 0
    open_ = [at for at in range(12) if found[1].outcomes[at].margin is None]
    sipit.certifier.certify(states, found, [(1, at) for at in range(12)])
    assert all(map(Recovery.exact, found, prompts))
    assert open_
    # The whole vocabulary behind as many tokens as are before the position.
    assert 64 * len(open_) == run["candidates"]
    assert 64 * len(open_) + sum(open_) == sipit.work.certificates


def test_several_waves_are_as_one(floor: Floor) -> None:
    """Prompts whose caches do not fit at once take turns."""
    decoder, prompts = tiny_decoder(), drawn(9, 3, 9, 6, 1)
    expected = inverted(decoder, prompts, floor)
    limits = InversionLimits(cached_bytes=2 * 2 * 16 * 4 * 20)
    done: list[int] = []
    found = inverted(decoder, prompts, floor, progress=done.append, limits=limits)
    assert told(expected) == told(found)
    assert list(range(1, 11)) == done


@pytest.mark.parametrize("known", [(), (9,)])
def test_the_first_position_can_be_searched(known: tuple[int, ...], floor: Floor) -> None:
    """A vocabulary too large for a table: certified where it is drawn, or tested to its end."""
    limits = InversionLimits(largest_table=32)
    decoder = tiny_decoder("llama")
    prompts = [[*known, *ids] for ids in drawn(6, 2, 1)]
    found = inverted(decoder, prompts, floor, known=known, certify=0, limits=limits)
    assert all(map(Recovery.exact, found.recoveries, prompts))
    ends = [o.status is Status.CERTIFIED for one in found.recoveries for o in one.outcomes]
    whole = [o.tried == 64 for one in found.recoveries for o in one.outcomes]
    assert whole == ends
    assert not all(whole)
    every = inverted(decoder, prompts, floor, known=known, limits=limits)
    assert {Status.CERTIFIED: 9} == every.statuses


def test_without_a_table_the_first_position_is_certified_where_it_is_asked(floor: Floor) -> None:
    """As every other: its margin is that of the whole vocabulary."""
    decoder, prompts = tiny_decoder(), drawn(5, 3)
    expected = inverted(decoder, prompts, floor, certify=8)
    limits = InversionLimits(largest_table=32)
    found = inverted(decoder, prompts, floor, certify=8, limits=limits)
    assert told(expected) == told(found)
    assert [one.outcomes[0].margin for one in expected.recoveries] == [
        one.outcomes[0].margin for one in found.recoveries
    ]


@pytest.mark.parametrize("held", [0, 16 * 16 * 2, 16 * 16 * 4])
def test_prompts_that_wait_at_long_shortlists_take_turns(held: int, floor: Floor) -> None:
    """Fewer at once where their candidates' states are bounded: a wrong model has every prompt wait."""
    decoder, wrong = tiny_decoder("llama"), tiny_decoder("llama", seed=9)
    states = [observe(decoder, ids, [2])[2] for ids in drawn(9, 7, 9, 3, 9)]
    eps = max(map(floor, states))
    found = [
        recover_all(wrong, states, 2, eps=eps, limits=limits)
        for limits in (InversionLimits(), InversionLimits(held_states=held))
    ]
    assert told(found[0]) == told(found[1])
    assert Status.NEAREST in found[0].statuses


def test_a_pool_of_likely_tokens_changes_no_answer(floor: Floor) -> None:
    """However few are looked among, the whole vocabulary comes in the end."""
    decoder, prompts = tiny_decoder("llama"), drawn(12, 7, 12)
    expected = inverted(decoder, prompts, floor, layer="norm")
    limits = InversionLimits(pool=1, pool_times=1, shortlist=1)
    assert told(expected) == told(inverted(decoder, prompts, floor, layer="norm", limits=limits))


def test_a_certificate_puts_the_nearer_token_in_place(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted first gives way, and what follows is inverted behind the nearer one."""
    rows = torch.zeros(64, 16)
    rows[:, 0] = torch.arange(64.0)
    decoder = additive_decoder(rows, torch.zeros(8, 16))
    rank = Lens.rank
    # Always one beside the truth: both verify at eps = 1.5.
    monkeypatch.setattr(
        Lens, "rank", lambda self, queries, count: (rank(self, queries, count) + 1) % 64
    )
    prompts = drawn(6, 8)
    found = inverted(decoder, prompts, floor, 1, eps=1.5, certify=0)
    assert any(o.token != t for t, o in zip(prompts[0], found.recoveries[0].outcomes, strict=True))
    certified = inverted(decoder, prompts, floor, 1, eps=1.5)
    assert prompts == [list(one.ids) for one in certified.recoveries]
    assert {Status.AMBIGUOUS} == set(certified.statuses)


def test_positions_certified_read_as_without_the_lens(floor: Floor) -> None:
    """Planted copies among them: the same words as a search in random order."""
    decoder = plant_equal_embeddings(tiny_decoder("qwen3"), kept=8, copied=41)
    prompts = [*drawn(8, 5), [8, 41, 8, 3, 41]]
    words = []
    for policy in ("lens", "random"):
        found = inverted(decoder, prompts, floor, policy=policy)
        words.append([[o.status for o in one.outcomes] for one in found.recoveries])
        assert not found.recoveries[2].verified
        assert [8, 8, 8, 3, 8] == [8 if token == 41 else token for token in found.recoveries[2].ids]
    assert words[0] == words[1]


def test_shortlists_meet_candidates_that_are_not_finite(floor: Floor) -> None:
    """Beside a NaN a candidate is still found, and the NaN is never the answer."""
    decoder, prompts = tiny_decoder("llama"), drawn(10, 10)
    prompts = [[token % 32 for token in ids] for ids in prompts]
    states = [observe(decoder, ids, [2])[2] for ids in prompts]
    decoder.parts.embeddings.weight[40:] = torch.nan
    limits = InversionLimits(shortlist=48)
    found = recover_all(decoder, states, 2, eps=max(map(floor, states)), limits=limits)
    assert all(map(Recovery.exact, found.recoveries, prompts))


def test_a_state_that_is_not_finite_ends_its_prompt_alone(floor: Floor) -> None:
    """The others of the same pass go on."""
    decoder, prompts = tiny_decoder(), drawn(8, 8)
    states = [observe(decoder, ids, [1])[1] for ids in prompts]
    eps = max(map(floor, states))
    states[0][5] = torch.nan
    found = recover_all(decoder, states, 1, eps=eps)
    assert [*prompts[0][:5], None, None, None] == list(found.recoveries[0].ids)
    told = [outcome.status for outcome in found.recoveries[0].failures]
    assert [Status.NOT_FINITE, Status.NOT_REACHED, Status.NOT_REACHED] == told
    assert found.recoveries[1].exact(prompts[1])


def test_the_same_prompts_are_calibrated_for_once(floor: Floor) -> None:
    """Recoveries that share an inverter share its lens."""
    decoder, (ids,) = tiny_decoder(), drawn(6)
    states = observe(decoder, ids, [2])[2]
    sipit = SipIt(decoder, 2, eps=floor(states))
    assert sipit.calibrate([states]) is sipit.calibrate([states])


def test_prompts_of_another_length_get_another_lens(floor: Floor) -> None:
    """Its means are by position, and longer prompts have more of them."""
    decoder, prompts = tiny_decoder(), drawn(6, 12)
    short, long = ([observe(decoder, ids, [2])[2]] for ids in prompts)
    sipit = SipIt(decoder, 2, eps=floor(short[0]))
    lenses = [sipit.calibrate(states) for states in (short, long, short)]
    assert len(lenses[0].center) < len(lenses[1].center)
    assert lenses[0] is lenses[2]


def test_a_policy_without_a_lens_has_nothing_to_calibrate() -> None:
    """The message names the policy and the one that has."""
    with pytest.raises(OptionError, match="policy random has nothing to calibrate: give lens"):
        SipIt(tiny_decoder(), 2, eps=0.1, policy="random").calibrate([torch.zeros(6, 16)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_come_back(dtype: torch.dtype, floor: Floor) -> None:
    """Within a tolerance that fits them; positions too close in half precision are not certain."""
    decoder, (ids,) = tiny_decoder("llama", dtype=dtype), drawn(8)
    states = observe(decoder, ids, [1])[1]
    found = recover(decoder, states, 1, eps=floor(states))
    assert ids == list(found.ids)
