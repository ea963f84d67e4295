"""SipIt finds a prompt in its hidden states, and its answer is that of exhaustive search."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import LayerError, OptionError, PromptError
from pytest_injectivity.inversion.certificates import draw_positions
from pytest_injectivity.inversion.policies import POLICIES
from pytest_injectivity.inversion.recovery import Recovery, Status
from pytest_injectivity.inversion.sipit import recover, recover_all
from pytest_injectivity.testing import (
    plant_equal_embeddings,
    tiny_decoder,
)
from tests.inversion.observing import IDS, Floor, Worst, drawn, observed
from tests.repetitions import mostly_slow

FAMILIES = ("gpt2", "gpt_neo", "llama", "qwen3", "gemma2", "mamba")
SEARCHES = (
    (0, "gradient"),
    (1, "random"),
    (2, "lm-order"),
    (2, "gradient"),
    ("norm", "random"),
    (2, "lens"),
)


@pytest.mark.parametrize(
    ("family", "layer", "policy"),
    mostly_slow(
        [(family, *search) for family in FAMILIES for search in SEARCHES],
        *((family, *search) for family, search in zip(FAMILIES, SEARCHES, strict=True)),
    ),
)
def test_a_prompt_comes_back_from_its_states(
    family: str, layer: Layer, policy: str, floor: Floor
) -> None:
    """Every kind of family, every layer, every policy; a prompt longer than a sliding window.

    The default run takes each of them once.
    """
    decoder, ids = tiny_decoder(family), drawn(1, 12)[0]
    states = observed(decoder, ids, layer)
    found = recover(decoder, states, layer, eps=floor(states), policy=policy, batch=8)
    assert found.exact(ids)


@settings(max_examples=8)
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
    assert [(41,), (41,)] == [outcome.twins for outcome in found.failures]
    # Margins are over classes: that of an ambiguous token is its distance from the others.
    assert all(outcome.margin > 1e-5 for outcome in found.failures if outcome.margin is not None)
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


def test_known_tokens_are_not_searched(floor: Floor) -> None:
    """Their rows are skipped: not even their states need be finite."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, 2)
    eps = floor(states)
    states[:2] = torch.nan
    found = recover(decoder, states, 2, eps=eps, known=IDS[:2])
    assert found.exact(IDS)
    assert [2, 3, 4, 5, 6, 7] == [outcome.position for outcome in found.outcomes]


def test_prompts_of_different_lengths(floor: Floor) -> None:
    """One call, and the progress of it: two steps a prompt."""
    decoder = tiny_decoder()
    prompts = [ids[: 1 + number % 4] for number, ids in enumerate(drawn(8, 4))]
    states = [observed(decoder, ids, 1) for ids in prompts]
    done: list[int] = []
    eps = max(map(floor, states))
    found = recover_all(decoder, states, 1, eps=eps, certify=100, progress=done.append)
    assert list(range(1, 17)) == done
    assert all(map(Recovery.exact, found.recoveries, prompts))
    # Fewer than a hundred positions: all are certified.
    assert {Status.CERTIFIED: 20} == found.statuses
    assert 20 == len(found.sampled)


def test_the_sample_is_of_the_positions_searched_and_hangs_on_the_seed() -> None:
    """Uniform over them, whatever prompt they belong to; none twice, none that is known."""
    lengths = [2, 5, 40, 3] * 10
    sample = draw_positions(lengths, 1, 100, seed=0)
    assert 100 == len(set(sample))
    assert all(1 <= position < lengths[prompt] for prompt, position in sample)
    # 390 of the 460 positions searched lie in the long prompts.
    assert 70 < sum(lengths[prompt] == 40 for prompt, _ in sample) < 97
    assert sample == draw_positions(lengths, 1, 100, seed=0)
    assert sample[:30] == draw_positions(lengths, 1, 30, seed=0)
    assert sample != draw_positions(lengths, 1, 100, seed=1)
    assert [(0, 1), (1, 1), (1, 2)] == sorted(draw_positions([2, 3], 1, 100, seed=0))


def test_an_inversion_says_what_it_was(floor: Floor) -> None:
    """Layer -1 is L; a policy given as an object is named by its settings."""
    decoder = tiny_decoder()
    states = [observed(decoder, IDS, 2)]
    found = recover_all(decoder, states, -1, eps=floor(states[0]), policy=Worst(IDS))
    assert (2, repr(Worst(IDS))) == (found.layer, found.policy)
    assert found.seconds >= found.recoveries[0].seconds > 0


@pytest.mark.parametrize("dtype", mostly_slow([torch.bfloat16, torch.float16], torch.bfloat16))
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
