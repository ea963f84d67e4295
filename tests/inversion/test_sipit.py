from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import LayerError, OptionError, PromptError
from pytest_injectivity.inversion import search
from pytest_injectivity.inversion.policies import POLICIES, Situation
from pytest_injectivity.inversion.recovery import Recovery, Status
from pytest_injectivity.inversion.sipit import SipIt, observe, recover, recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    additive_decoder,
    plant_equal_embeddings,
    plant_nan,
    tiny_decoder,
)

IDS = (5, 1, 8, 8, 2, 60, 33, 7)
Floor = Callable[[Tensor], float]


def observed(decoder: Decoder, ids: Sequence[int], layer: Layer) -> Tensor:
    return observe(decoder, ids, [layer])[layer]


def drawn(count: int, length: int, vocab: int = 64, seed: int = 0) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(row) for row in torch.randint(vocab, (count, length), generator=generator).tolist()
    ]


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "llama", "qwen3", "gemma2", "mamba"])
@pytest.mark.parametrize(
    ("layer", "policy"),
    [
        (0, "gradient"),
        (1, "random"),
        (2, "lm-order"),
        (2, "gradient"),
        ("norm", "random"),
        (2, "lens"),
    ],
)
def test_a_prompt_comes_back_from_its_states(
    family: str, layer: Layer, policy: str, floor: Floor
) -> None:
    """Every kind of family, every layer, every policy; a prompt longer than a sliding window."""
    decoder, ids = tiny_decoder(family), drawn(1, 12)[0]
    states = observed(decoder, ids, layer)
    found = recover(decoder, states, layer, eps=floor(states), policy=policy, batch=8)
    assert found.exact(ids)


@settings(max_examples=20)
@given(
    family=st.sampled_from(["gpt2", "llama", "gemma3_text", "falcon"]),
    seed=st.integers(0, 999),
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    layer=st.sampled_from([1, 2, "norm"]),
    policy=st.sampled_from(POLICIES),
    certify=st.booleans(),
)
def test_the_answer_is_that_of_exhaustive_search(  # noqa: PLR0917 - Hypothesis gives them by name
    floor: Floor,
    family: str,
    seed: int,
    ids: list[int],
    layer: Layer,
    policy: str,
    certify: bool,  # noqa: FBT001 - as above
) -> None:
    """Against every sequence of the vocabulary, evaluated in true float64."""
    decoder = tiny_decoder(family, seed=seed, vocab=5, hidden=8)
    states = observed(decoder, ids, layer)
    every = torch.tensor(list(product(range(5), repeat=len(ids))))
    exact = decoder.as_float64().states(every, [layer])[layer]
    away = torch.linalg.vector_norm(exact - states.double(), dim=2)
    truth = int((every == torch.tensor(ids)).all(dim=1).nonzero())
    # Norms over eight numbers can magnify a rounding error: the true one is known here.
    eps = floor(states) + 2 * float(away[truth].max())
    found = recover(decoder, states, layer, eps=eps, policy=policy, batch=2, certify=certify)
    matching = every[(away <= eps).all(dim=1)].tolist()
    assert [list(found.ids)] == matching == [ids]
    # The local margins: of the sequences that differ in the last of their first t + 1 tokens only.
    for t, outcome in enumerate(found.outcomes):
        same = (every[:, :t] == torch.tensor(ids[:t])).all(dim=1)
        mine = exact[same & (every[:, t] == ids[t])][0, t]
        rivals = exact[same & (every[:, t] != ids[t])][:, t]
        expected = float(torch.linalg.vector_norm(rivals - mine, dim=1).min())
        assert outcome.margin is None or outcome.margin == pytest.approx(expected, abs=2 * eps)
        assert outcome.margin is not None or not certify


@dataclass(frozen=True)
class Worst:
    """The truth last, and one token again: what no policy should do and any may."""

    truth: Sequence[int]

    def order(self, at: Situation) -> Iterator[Tensor]:
        """All but one, one of them again, and the truth; the search adds what is missing."""
        last = self.truth[len(at.step.prefix)]
        yield torch.tensor([token for token in range(63) if token != last])
        yield torch.tensor([0])
        yield torch.tensor([last])


def test_no_policy_changes_the_answer_at_certified_positions(floor: Floor) -> None:
    """Not even one that puts the truth last: the same words, for more tests."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=8, copied=61)
    states = observed(decoder, IDS, 2)
    found = [
        recover(decoder, states, 2, eps=floor(states), policy=policy, batch=4, certify=True)
        for policy in (*POLICIES, Worst(IDS))
    ]
    # Positions of the planted pair may name either token: which is nearer is the last bit's word.
    told = {
        tuple(
            ({o.token, *o.rivals} == {8, 61} or o.token, o.status, round(o.margin or 0.0, 4))
            for o in one.outcomes
        )
        for one in found
    }
    assert 1 == len(told)
    for one in found:
        assert IDS == tuple(8 if token == 61 else token for token in one.ids)


@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("policy", [*POLICIES, Worst(IDS)])
def test_at_most_every_token_is_tested_once_a_position(
    monkeypatch: pytest.MonkeyPatch,
    floor: Floor,
    policy: Any,
    certify: bool,  # noqa: FBT001
) -> None:
    """Never more than brute force, certificates included."""
    tested: dict[Tensor, list[int]] = {}
    inner = search.Tested.add

    def counting(self: search.Tested, tokens: Tensor, *rest: Any) -> None:
        tested.setdefault(self.target, []).extend(tokens.tolist())
        inner(self, tokens, *rest)

    monkeypatch.setattr(search.Tested, "add", counting)
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 2)
    found = recover(decoder, states, 2, eps=floor(states), policy=policy, batch=4, certify=certify)
    assert found.exact(IDS)
    assert all(len(tokens) == len(set(tokens)) <= 64 for tokens in tested.values())
    assert all(0 < outcome.tried <= 64 for outcome in found.outcomes[1:])
    if certify:
        assert 7 == sum(len(tokens) == 64 for tokens in tested.values())


def test_the_rank_is_the_truths_place_in_the_order(floor: Floor) -> None:
    """The worst policy names 62 others first; what is looked up has no rank."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 2)
    found = recover(decoder, states, 2, eps=floor(states), policy=Worst(IDS), certify=True)
    assert [None, *[62] * 7] == [outcome.rank for outcome in found.outcomes]


def test_batches_begin_small_and_double(monkeypatch: pytest.MonkeyPatch, floor: Floor) -> None:
    """A truth found early costs one small batch."""
    sizes: list[int] = []
    inner = Decoder.candidates

    def counting(self: Decoder, prefix: Any, tokens: Tensor, layers: Any) -> Any:
        sizes.append(len(tokens))
        return inner(self, prefix, tokens, layers)

    decoder = tiny_decoder()
    states = observed(decoder, IDS[:2], 1)
    monkeypatch.setattr(Decoder, "candidates", counting)
    recover(decoder, states, 1, eps=floor(states), policy=Worst(IDS), batch=4)
    assert [64, 4, 8, 16, 32, 2, 1] == sizes


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layer", [0, 1, 2, "norm"])
def test_equal_embeddings_are_ambiguous(layer: Layer, policy: str, floor: Floor) -> None:
    """Two tokens that verify are a collision of the one-step map, not a success."""
    decoder = plant_equal_embeddings(tiny_decoder(), kept=8, copied=41)
    states = observed(decoder, (8, 5, 41, 9), layer)
    found = recover(decoder, states, layer, eps=floor(states), policy=policy, certify=True)
    told = [(outcome.status, {outcome.token, *outcome.rivals}) for outcome in found.outcomes]
    both = (Status.AMBIGUOUS, {8, 41})
    assert [both, (Status.CERTIFIED, {5}), both, (Status.CERTIFIED, {9})] == told
    assert all(outcome.margin < 1e-5 for outcome in found.failures if outcome.margin is not None)
    assert not found.exact((8, 5, 41, 9))
    assert not found.verified


def test_the_sample_estimates_the_ambiguity(floor: Floor) -> None:
    """Half of the vocabulary is planted twice: about half of the sampled positions are ambiguous."""
    decoder = tiny_decoder()
    for token in range(0, 32, 2):
        plant_equal_embeddings(decoder, token, token + 1)
    prompts = drawn(15, 8)
    states = [observed(decoder, ids, 2) for ids in prompts]
    found = recover_all(
        decoder, states, 2, eps=max(map(floor, states)), policy="random", certify=60
    )
    assert 60 == len(found.sample) == len(set(found.sample))
    truly = sum(prompts[prompt][position] < 32 for prompt, position in found.sample)
    assert truly == found.ambiguous
    assert 20 < found.ambiguous < 40
    assert not any(outcome.status is Status.ACCEPTED for outcome in found.sampled)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_wrong_model_recovers_nothing(policy: str, floor: Floor) -> None:
    """The states of one set of weights, inverted with another: no position verifies."""
    right, wrong = tiny_decoder("llama", seed=0), tiny_decoder("llama", seed=1)
    prompts = drawn(5, 6)
    states = [observed(right, ids, 2) for ids in prompts]
    eps = max(map(floor, states))
    found = recover_all(wrong, states, 2, eps=eps, policy=policy)
    assert {Status.NEAREST: 30} == found.statuses
    assert not any(recovery.verified for recovery in found.recoveries)
    # The model itself, for comparison.
    own = recover_all(right, states, 2, eps=eps, policy=policy)
    assert all(map(Recovery.exact, own.recoveries, prompts))


def test_backoff_does_not_make_a_wrong_model_recover(floor: Floor) -> None:
    """Asked to widen without end it stops where uniqueness does: no prompt is verified."""
    right, wrong = tiny_decoder(seed=0), tiny_decoder(seed=1)
    states = [observed(right, ids, 2) for ids in drawn(10, 8)]
    found = recover_all(wrong, states, 2, eps=max(map(floor, states)), backoff=1e12)
    assert not any(recovery.verified for recovery in found.recoveries)


def line(*places: float) -> Decoder:
    """Tokens along one direction at a distance known exactly, at every layer and position."""
    rows = torch.zeros(len(places), 8, dtype=torch.float64)
    rows[:, 0] = torch.tensor(places, dtype=torch.float64)
    return additive_decoder(rows, torch.zeros(4, 8, dtype=torch.float64))


def moved(by: float, position: int = 1) -> Tensor:
    """The states of (0, 0) in `line`, one of them moved towards the tokens at greater places."""
    states = torch.zeros(2, 8, dtype=torch.float64)
    states[position, 0] = by
    return states


# Tokens at 0, 1 and 5: delta of token 0 is 1, so that eps + nu must stay below 0.5.
@pytest.mark.parametrize(
    ("error", "eps", "nu", "status", "token"),
    [
        (0.39, 0.4, 0.09, Status.CERTIFIED, 0),  # within the certified radius
        (0.41, 0.4, 0.09, Status.NEAREST, 0),  # just above eps
        (0.39, 0.4, 0.11, Status.AMBIGUOUS, 0),  # 0.61 <= eps + 2 nu
        (0.49, 0.495, 0.0, Status.CERTIFIED, 0),
        (0.495, 0.51, 0.0, Status.AMBIGUOUS, 0),  # both within eps
        (0.51, 0.495, 0.0, Status.CERTIFIED, 1),  # the error is above eps: certified, and wrong
        (0.51, 0.4, 0.0, Status.NEAREST, 1),
    ],
)
def test_noise_about_the_certified_radius(
    error: float, eps: float, nu: float, status: Status, token: int
) -> None:
    """The ball is exact for errors up to eps, if eps + nu < delta / 2."""
    found = recover(line(0, 1, 5), moved(error), 1, eps=eps, nu=nu, backoff=1.0, certify=True)
    assert (status, token) == (found.outcomes[1].status, found.outcomes[1].token)
    assert 1.0 == found.outcomes[1].margin


@pytest.mark.parametrize(("error", "token"), [(0.49, 0), (0.51, 1)])
def test_argmin_about_half_the_margin(error: float, token: int) -> None:
    """Exact below delta / 2 and wrong above; it claims nothing in either case."""
    found = recover(line(0, 1, 5), moved(error), 1, eps=0.0, verifier="argmin")
    assert (0, token) == found.ids
    assert {Status.NEAREST} == {outcome.status for outcome in found.outcomes}
    assert [1.0, 1.0] == [outcome.margin for outcome in found.outcomes]
    assert 3 == found.outcomes[1].tried


def test_backoff_accepts_what_is_still_unique() -> None:
    """An error above eps and below delta / 2, with the tolerance that would have passed."""
    decoder, states = line(0, 1, 5), moved(0.4)
    assert Status.NEAREST == recover(decoder, states, 1, eps=0.2, backoff=1.0).outcomes[1].status
    for factor in ({}, {"backoff": 2.5}):
        widened = recover(decoder, states, 1, eps=0.2, nu=0.0, **factor).outcomes[1]
        assert (Status.ACCEPTED, 0) == (widened.status, widened.token)
        assert pytest.approx(0.4) == widened.eps == widened.residual
    # By default up to four times eps.
    assert Status.NEAREST == recover(decoder, states, 1, eps=0.099, nu=0.0).outcomes[1].status


def test_each_position_has_its_own_tolerance() -> None:
    """The floor of position 0 is not that of the others, and the last serves all after it."""
    decoder = line(0, 10, 20)
    at_first, at_second = moved(1.0, position=0), moved(1.0, position=1)
    assert recover(decoder, at_first, 1, eps=(1.5, 0.1)).verified
    assert not recover(decoder, at_second, 1, eps=(1.5, 0.1)).verified
    assert recover(decoder, at_second, 1, eps=(0.1, 1.5)).verified


def test_a_failed_position_keeps_its_nearest_token_as_prefix(floor: Floor) -> None:
    """What follows is still searched; the prompt has failed, whatever comes after."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 1)
    eps = floor(states)
    states[3] += 9 * eps / states.shape[1] ** 0.5
    found = recover(decoder, states, 1, eps=eps)
    assert IDS == found.ids
    assert [3] == [outcome.position for outcome in found.failures]
    assert not found.exact(IDS)


def test_a_state_that_is_not_finite_is_its_own_failure(floor: Floor) -> None:
    """What stood before it is recovered, what comes after has no prefix."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 1)
    eps = floor(states)
    states[5, 2] = torch.nan
    found = recover(decoder, states, 1, eps=eps)
    assert (*IDS[:5], None, None, None) == found.ids
    told = [outcome.status for outcome in found.failures]
    assert [Status.NOT_FINITE, Status.NOT_REACHED, Status.NOT_REACHED] == told
    assert 0 == found.outcomes[5].tried


def test_a_model_that_yields_nan_recovers_nothing() -> None:
    """From the layer where it begins; a shallower one is recovered."""
    decoder = plant_nan(tiny_decoder(), 2)
    for layer, expected in ((1, True), (2, False)):
        found = recover(decoder, observed(decoder, IDS, layer), layer, eps=1e-4)
        assert expected == found.exact(IDS)
    assert Status.NOT_FINITE == found.outcomes[0].status


def test_finite_states_with_a_model_that_yields_nan_are_not_finite() -> None:
    """No candidate can be judged: no answer, not an arbitrary one."""
    states = observed(tiny_decoder(), IDS, 2)
    found = recover(plant_nan(tiny_decoder(), 2), states, 2, eps=1e-4)
    assert Status.NOT_FINITE == found.outcomes[0].status
    assert found.outcomes[0].token is None


def test_candidates_that_are_not_finite_harm_no_other(floor: Floor) -> None:
    """A token whose embedding is NaN is never the answer."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 2)
    decoder.parts.embeddings.weight[63] = torch.nan
    found = recover(decoder, states, 2, eps=floor(states), certify=True)
    assert found.exact(IDS)
    assert all(outcome.status is Status.CERTIFIED for outcome in found.outcomes)


def test_known_tokens_are_not_searched(floor: Floor) -> None:
    """Their rows are skipped: not even their states need be finite."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, 2)
    eps = floor(states)
    states[:2] = torch.nan
    found = recover(decoder, states, 2, eps=eps, known=IDS[:2])
    assert found.exact(IDS)
    assert [2, 3, 4, 5, 6, 7] == [outcome.position for outcome in found.outcomes]


def test_the_first_positions_table_is_shared(monkeypatch: pytest.MonkeyPatch, floor: Floor) -> None:
    """Ten prompts, one pass over the vocabulary after the known token, and ten certificates."""
    decoder = tiny_decoder()
    prompts = [(9, *ids) for ids in drawn(10, 3)]
    states = [observed(decoder, ids, 2) for ids in prompts]
    whole = 0
    inner = Decoder.candidates

    def counting(self: Decoder, prefix: Any, tokens: Tensor, layers: Any) -> Any:
        nonlocal whole
        whole += len(prefix) == 1
        return inner(self, prefix, tokens, layers)

    monkeypatch.setattr(Decoder, "candidates", counting)
    found = recover_all(decoder, states, 2, eps=max(map(floor, states)), known=(9,), certify=0)
    assert 1 == whole
    assert all(map(Recovery.exact, found.recoveries, prompts))
    assert {Status.CERTIFIED} == {one.outcomes[0].status for one in found.recoveries}
    assert () == found.sample


def test_prompts_of_different_lengths(floor: Floor) -> None:
    """One call, and the progress of it."""
    decoder = tiny_decoder()
    prompts = [ids[: 1 + number % 4] for number, ids in enumerate(drawn(8, 4))]
    states = [observed(decoder, ids, 1) for ids in prompts]
    done: list[int] = []
    found = recover_all(decoder, states, 1, eps=max(map(floor, states)), progress=done.append)
    assert list(range(1, 9)) == done
    assert all(map(Recovery.exact, found.recoveries, prompts))
    # Fewer than a hundred positions: all are certified.
    assert {Status.CERTIFIED: 20} == found.statuses
    assert 20 == len(found.sampled)


def test_the_sample_is_of_the_positions_searched_and_hangs_on_the_seed() -> None:
    """Uniform over them, whatever prompt they belong to; none twice, none that is known."""
    decoder = tiny_decoder()
    sipit = SipIt(decoder, 1, eps=0.1, known=(9,))
    lengths = [2, 5, 40, 3] * 10
    sample = sipit.draw(lengths, 100)
    assert 100 == len(set(sample))
    assert list(sample) == sorted(sample)
    assert all(1 <= position < lengths[prompt] for prompt, position in sample)
    # 390 of the 460 positions searched lie in the long prompts.
    assert 70 < sum(lengths[prompt] == 40 for prompt, _ in sample) < 97
    assert sample == SipIt(decoder, 2, eps=0.2, known=(9,)).draw(lengths, 100)
    assert sample != SipIt(decoder, 1, eps=0.1, known=(9,), seed=1).draw(lengths, 100)
    assert [(0, 1), (1, 1), (1, 2)] == list(sipit.draw([2, 3], 100))


def test_an_inversion_says_what_it_was(floor: Floor) -> None:
    """Layer -1 is L; a policy given as an object is named by its settings."""
    decoder = tiny_decoder()
    states = [observed(decoder, IDS, 2)]
    found = recover_all(decoder, states, -1, eps=floor(states[0]), policy=Worst(IDS))
    assert (2, repr(Worst(IDS))) == (found.layer, found.policy)
    assert found.seconds >= found.recoveries[0].seconds > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_certified_answer_of_a_half_precision_model_is_true(dtype: torch.dtype) -> None:
    """With eps above the true error; what is not certified is told, not guessed."""
    decoder = tiny_decoder("llama", dtype=dtype)
    prompts = drawn(12, 6)
    states = [observed(decoder, ids, 2) for ids in prompts]
    found = recover_all(decoder, states, 2, eps=0.2, certify=72)
    for recovery, truth in zip(found.recoveries, prompts, strict=True):
        right = 0
        for outcome, token in zip(recovery.outcomes, truth, strict=True):
            if outcome.token != token:
                break
            right += outcome.status is Status.CERTIFIED
        wrong = [o for o in recovery.outcomes[: right + 1] if o.status is Status.CERTIFIED]
        assert all(o.token == truth[o.position] for o in wrong)
    assert found.statuses[Status.CERTIFIED] > 36


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"eps": -0.1}, OptionError, "eps=-0.1 is not a tolerance"),
        ({"eps": float("nan")}, OptionError, "eps=nan is not a tolerance"),
        ({"nu": float("nan")}, OptionError, "nu=nan is not a tolerance"),
        ({"policy": "best"}, OptionError, "policy 'best' is not known"),
        ({"backoff": 0.5}, OptionError, "backoff=0.5 is not a factor"),
        ({"batch": 0}, OptionError, "batch=0 tests nothing"),
        ({"seed": -1}, OptionError, "seed=-1 is negative"),
        ({"layer": 3}, LayerError, "layer 3 is out of range"),
        ({"known": IDS}, OptionError, "the first 8 of them known"),
        ({"known": (64,)}, PromptError, "token id 64"),
        ({"states": torch.zeros(3, 8)}, OptionError, "states of width 8 .* have width 16"),
        ({"states": torch.zeros(65, 16)}, OptionError, "states of 65 positions"),
        ({"states": torch.zeros(0, 16)}, OptionError, "states of 0 positions"),
    ],
)
def test_wrong_use_is_told(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    """One sentence with the value and what is accepted."""
    given = {"states": torch.zeros(8, 16), "layer": 1, "eps": 0.1, **wrong}
    states, layer = given.pop("states"), given.pop("layer")
    with pytest.raises(error, match=message):
        recover(tiny_decoder(), states, layer, **given)


def test_nothing_to_invert_is_told() -> None:
    """A run over no prompts must not look like one that recovered all."""
    decoder = tiny_decoder()
    with pytest.raises(OptionError, match="0 prompts to invert"):
        recover_all(decoder, [], 1, eps=0.1)
    with pytest.raises(OptionError, match="certify=-1"):
        recover_all(decoder, [torch.zeros(8, 16)], 1, eps=0.1, certify=-1)
