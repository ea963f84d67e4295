"""Collapse by repetition: steps known in closed form, and what each kind of position allows."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import LayerError, OptionError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.activation_hooks import Rounding
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.states.pair_decisions import Kind
from pytest_injectivity.testing import SLIDING_WINDOW, plant_nan, tiny_decoder
from pytest_injectivity.theory.repetition import (
    Collapse,
    Ladder,
    Repetition,
    equal_exactly,
    measure_repetition,
)
from tests.resolutions import TINY, resolution_of

FIRST, REPEATED = 0, 1
STEPS = 30


def averaging(first: float, *, dtype: torch.dtype = torch.float32) -> Decoder:
    """One block of uniform attention, whose state after ``n`` repetitions is ``first / (n + 1)``.

    Token `FIRST` has the value ``first`` and token `REPEATED` the value 0, so that the mean of the
    beginning and ``n`` repetitions is ``(first + n * 0) / (n + 1)``, in one coordinate. The output's
    bias takes the repeated token's own embedding off.
    """
    decoder = tiny_decoder("gpt2", layers=1, n_head=1, hidden=16, context=STEPS + 2, dtype=dtype)
    base: Any = decoder.parts.base
    for parameter in (base.wpe.weight, *base.h[0].attn.parameters(), *base.h[0].mlp.parameters()):
        parameter.zero_()
    base.h[0].ln_1.weight.fill_(1.0)
    base.h[0].ln_1.bias.zero_()
    base.wte.weight[FIRST] = torch.tensor([1.0, -1.0] * 8)
    base.wte.weight[REPEATED] = torch.tensor([1.0, 1.0, -1.0, -1.0] * 4)
    # Layer norm divides by the root of 1 + 1e-5, which the value takes back.
    value = base.wte.weight[FIRST] * first / 16 * (1 + 1e-5) ** 0.5
    base.h[0].attn.c_attn.weight[:, 32] = value
    base.h[0].attn.c_proj.weight[0, 0] = 1.0
    base.h[0].attn.c_proj.bias.copy_(-base.wte.weight[REPEATED])
    return decoder


def ladder(decoder: Decoder, repetition: Repetition, n: int, layer: Layer = 1) -> Ladder:
    """The ladder at one layer."""
    resolutions = resolution_of(decoder, [[2, 3, 4]], [layer], size=TINY)
    return measure_repetition(decoder, repetition, n, [layer], resolutions)[layer]


def test_states_known_in_closed_form_give_the_exact_ladder() -> None:
    """On a grid of step 1 the states of n repetitions are the whole number nearest first / (n + 1)."""
    grid = Rounding(Grid(8), np.ones((1, 1)), np.zeros((1, 1)))
    first = 12.3
    found = ladder(averaging(first).rounded(grid), Repetition(REPEATED, (FIRST,)), STEPS)
    codes = [round(Fraction(str(first)) / (n + 1)) for n in range(1, STEPS + 2)]
    equal = [one == other for one, other in pairwise(codes)]
    assert Collapse.of(equal) == found.equal
    assert equal == [kind is Kind.COLLISION for kind in found.kinds]
    assert any(equal)
    assert not all(equal[equal.index(True) :]), "equality is not monotone"


def test_distances_of_the_closed_form() -> None:
    """In float64 the states of n and n + 1 repetitions are first / ((n + 1) (n + 2)) apart."""
    found = ladder(averaging(5.0, dtype=torch.float64), Repetition(REPEATED, (FIRST,)), STEPS)
    expected = [5.0 / ((n + 1) * (n + 2)) for n in range(1, STEPS + 1)]
    np.testing.assert_allclose(found.apart, expected, rtol=1e-9)
    assert Collapse(None, 0.0, None) == found.equal == found.unresolved


def test_what_is_equal_with_an_end_is_decided_by_evaluation() -> None:
    """The end is the repeated token itself: every step is the next one without it."""
    grid = Rounding(Grid(8), np.ones((1, 1)), np.zeros((1, 1)))
    decoder = averaging(5.0).rounded(grid)
    ended, whole = (
        ladder(decoder, Repetition(REPEATED, (FIRST,), end), 5) for end in [(REPEATED,), ()]
    )
    assert whole.kinds[1:] == ended.kinds[:-1]


ROTARY_OR_NONE = [
    ("llama", {}),
    ("qwen3", {}),
    ("gpt_neox", {}),
    ("falcon", {"alibi": True}),
    ("falcon", {"alibi": False}),
    ("gemma2", {}),
]
LEARNED = ["gpt2", "gpt_neo", "opt"]


@pytest.mark.parametrize(("family", "settings"), ROTARY_OR_NONE)
def test_without_a_beginning_rotary_and_alibi_collide_at_every_step(
    family: str, settings: dict[str, Any]
) -> None:
    """Every token sees copies of itself alone, whatever weights positions give them; in float64."""
    exact = tiny_decoder(family, **settings).as_float64()
    every = equal_exactly(exact, Repetition(3), 20, exact.layers)
    begun = equal_exactly(exact, Repetition(3, (5,)), 6, exact.layers)
    assert {Collapse(1, 1.0, 1)} == set(every.values())
    assert {Collapse(None, 0.0, None)} == set(begun.values())


def test_a_model_without_positions_collides_at_every_step() -> None:
    """A GPT-2 whose table of positions is zero has none; in float64."""
    decoder = tiny_decoder("gpt2")
    table: Any = decoder.parts.base.wpe.weight
    table.zero_()
    exact = decoder.as_float64()
    assert Collapse(1, 1.0, 1) == equal_exactly(exact, Repetition(3), 20, [2])[2]
    assert Collapse(None, 0.0, None) == equal_exactly(exact, Repetition(3, (5,)), 20, [2])[2]


@pytest.mark.parametrize("family", [*LEARNED, "mamba"])
def test_learned_positions_and_state_spaces_collide_at_no_step(family: str) -> None:
    """Each position adds a row of its own; a state space remembers how much it has read."""
    exact = tiny_decoder(family).as_float64()
    found = equal_exactly(exact, Repetition(3), 6, exact.layers)
    assert {Collapse(None, 0.0, None)} == set(found.values())


@pytest.mark.parametrize("layer", [1, 2])
def test_a_sliding_window_forgets_the_beginning(layer: int) -> None:
    """Each block looks back over one window less itself: from then on all steps are equal in float64."""
    exact = tiny_decoder("mistral").as_float64()
    found = equal_exactly(exact, Repetition(3, (5,)), 30, [layer])[layer]
    out_of_sight = layer * (SLIDING_WINDOW - 1) + 1
    assert (out_of_sight, out_of_sight) == (found.first, found.lasting)


def test_an_end_sees_one_window_of_repetitions() -> None:
    """Without a beginning their states are equal: more than one window of them is nothing new."""
    exact = tiny_decoder("mistral").as_float64()
    found = equal_exactly(exact, Repetition(3, end=(5,)), 12, [1, 2])
    assert {(SLIDING_WINDOW - 1, SLIDING_WINDOW - 1)} == {
        (one.first, one.lasting) for one in found.values()
    }


def test_rotary_states_are_not_told_apart_in_float32() -> None:
    """What is equal in exact arithmetic is within the resolution; layer 0 sees one token only."""
    decoder, layers = tiny_decoder("llama"), [0, 2]
    resolutions = resolution_of(decoder, [[2, 3, 4]], layers, size=TINY)
    found = measure_repetition(decoder, Repetition(3), 4, layers, resolutions)
    assert Collapse(1, 1.0, 1) == found[0].equal == found[2].unresolved


def test_states_that_are_not_finite_are_named() -> None:
    """Neither equal nor resolved: nothing is said of these steps."""
    found = ladder(plant_nan(tiny_decoder("llama"), 1), Repetition(3), 4, 2)
    assert (1, 2, 3, 4) == found.not_finite
    assert Collapse(None, 0.0, None) == found.equal


def test_each_prompt_stands_between_beginning_and_end() -> None:
    """The longest n leaves room for one repetition more."""
    repetition = Repetition(7, (1, 2), (3,))
    assert (1, 2, 7, 7, 3) == repetition.prompt(2)
    assert 10 == len(repetition.prompt(repetition.most(10) + 1))


@pytest.mark.parametrize("n", [0, -1])
def test_a_wrong_number_of_repetitions_is_refused(n: int) -> None:
    """It names the value."""
    with pytest.raises(OptionError, match=r"^n=.*give an integer of at least 1"):
        equal_exactly(tiny_decoder("gpt2"), Repetition(3), n, [1])


def test_more_repetitions_than_the_context_holds_are_refused() -> None:
    """The error says how many it holds, and so many are accepted."""
    decoder = tiny_decoder("gpt2", context=16)
    with pytest.raises(OptionError, match=r"^n=14: 15 repetitions .* 17 tokens.* at most 13$"):
        equal_exactly(decoder, Repetition(3, (1,), (2,)), 14, [1])
    assert equal_exactly(decoder, Repetition(3, (1,), (2,)), 13, [1])


@pytest.mark.parametrize("token", [-1, 64])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    """Whether it is repeated, or stands before or after."""
    with pytest.raises(PromptError, match=r"is no id of the model: give an integer from 0 to 63"):
        equal_exactly(tiny_decoder("gpt2"), Repetition(token), 3, [1])
    with pytest.raises(PromptError, match="is no id of the model"):
        equal_exactly(tiny_decoder("gpt2"), Repetition(3, (token,)), 3, [1])


def test_a_layer_that_the_model_does_not_have_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(LayerError, match="3"):
        equal_exactly(tiny_decoder("gpt2"), Repetition(3), 3, [3])
