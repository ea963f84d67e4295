from itertools import chain

import pytest
import torch

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.inversion.policies import (
    POLICIES,
    Gradient,
    LmOrder,
    Policy,
    Random,
    Situation,
    make_policy,
)
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, tiny_decoder

PREFIX = (3, 1, 4)


def situation(decoder: Decoder, token: int, prefix: tuple[int, ...] = PREFIX) -> Situation:
    step = OneStep.of(decoder, decoder.n_layers, prefix)
    return Situation(step, step(torch.tensor([token]))[0])


def order(policy: Policy, at: Situation) -> list[int]:
    return torch.cat(list(policy.order(at))).tolist()


def rank(policy: Policy, at: Situation, token: int) -> int:
    """How many tokens come before this one; nothing after it is asked for."""
    tokens = chain.from_iterable(piece.tolist() for piece in policy.order(at))
    return next(place for place, other in enumerate(tokens) if other == token)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "opt"])
@pytest.mark.parametrize("name", POLICIES)
def test_every_token_comes_once(name: str, family: str) -> None:
    """At most |V| tests a position."""
    at = situation(tiny_decoder(family), 17)
    assert list(range(64)) == sorted(order(make_policy(name, 0), at))


def test_random_order_hangs_on_the_seed_and_the_prefix() -> None:
    """The same ones give the same order whatever was inverted before."""
    decoder = tiny_decoder()
    first = order(Random(0), situation(decoder, 17))
    assert first == order(Random(0), situation(decoder, 5))
    assert first != order(Random(1), situation(decoder, 17))
    assert first != order(Random(0), situation(decoder, 17, (3, 1, 5)))


def test_lm_order_is_the_models_ranking() -> None:
    """By falling logit of the token after the prefix."""
    decoder = tiny_decoder()
    with torch.no_grad():
        logits = decoder.model(torch.tensor([PREFIX])).logits[0, -1]
    found = order(LmOrder(), situation(decoder, 17))
    assert logits.sort(descending=True).values.tolist() == logits[found].tolist()


def test_lm_order_has_none_before_the_first_token() -> None:
    """The tokens are then tested in the order of their ids, by the search."""
    assert [] == list(LmOrder().order(situation(tiny_decoder(), 17, ())))


def shifting(scale: float) -> Decoder:
    generator = torch.Generator().manual_seed(0)
    tokens, positions = (torch.randn(rows, 16, generator=generator) * scale for rows in (256, 8))
    return additive_decoder(tokens, positions)


def test_gradient_finds_the_row_where_the_map_is_a_shift() -> None:
    """Blocks that write nothing: every state is found in the first steps."""
    decoder = shifting(1.0)
    found = [rank(Gradient(proposals=1), situation(decoder, at), at) for at in (0, 99, 255)]
    assert max(found) < 16


@pytest.mark.parametrize("scale", [2.0**-9, 2.0**9])
def test_gradient_takes_the_same_steps_at_every_scale(scale: float) -> None:
    """A power of two moves no digit: the order is the same to the last token."""
    expected = order(Gradient(), situation(shifting(1.0), 99))
    assert expected == order(Gradient(), situation(shifting(scale), 99))


def test_gradient_beats_chance_on_a_random_decoder() -> None:
    """Mean rank over 16 tokens far below the 127.5 of a random order."""
    decoder = tiny_decoder("gpt2", vocab=256)
    tokens = range(0, 256, 16)
    found = [rank(Gradient(proposals=4), situation(decoder, token), token) for token in tokens]
    assert sum(found) / len(found) < 40


def test_gradient_leaves_the_model_without_gradients() -> None:
    """Only the embedding is a variable."""
    decoder = tiny_decoder()
    next(Gradient().order(situation(decoder, 17)))
    assert all(parameter.grad is None for parameter in decoder.model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradient_runs_in_half_precision(dtype: torch.dtype) -> None:
    """The embedding is stepped in float32 and fed in the model's dtype."""
    decoder = tiny_decoder("llama", dtype=dtype)
    assert list(range(64)) == sorted(order(Gradient(), situation(decoder, 17)))


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    """The message is what to give instead."""
    with pytest.raises(
        OptionError, match="'lense' is not known: give one of random, gradient, lm-order"
    ):
        make_policy("lense", 0)
