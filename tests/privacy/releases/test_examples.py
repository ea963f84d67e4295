from collections.abc import Callable

import pytest
import torch

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.examples import (
    known_beforehand,
    observe_together,
    practised,
    refuse_shared,
)
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from tests.attacks import case, drawn_prompts

PROMPTS = drawn_prompts(6, 4)


def test_practice_has_draws_of_its_own(observed: Callable[..., Observed]) -> None:
    """Of the same prompt and seed an attacker draws other noise than the sender."""
    here = observed("1")
    release = bind(parse("gaussian(sigma=1)@1"), here)
    own, senders = practised(release, here, 0), known_beforehand(release, here, 0)
    assert own.prompts == senders.prompts == here.prompts
    assert not torch.equal(own.rows[0], senders.rows[0])


def test_a_secret_that_is_shared_cannot_be_practised(observed: Callable[..., Observed]) -> None:
    """What the sender released under it can be known."""
    here = observed("1")
    release = bind(parse("rotate(seed=1)@1"), here)
    assert 0 == len(practised(release, here, 0))
    assert len(here.prompts) == len(known_beforehand(release, here, 0))


def test_without_prompts_there_are_no_examples(observed: Callable[..., Observed]) -> None:
    """Neither own ones nor known ones."""
    release = bind(parse("identity@1"), observed("1"))
    assert 0 == len(practised(release, None, 0)) == len(known_beforehand(release, None, 0))


@pytest.mark.parametrize("place", ["1", "2 every=2", "2 last", "2 mean", "2 answer", "1 kv"])
def test_places_observed_together_are_those_observed_alone(place: str, decoder: Decoder) -> None:
    """Layers of one pass, and what blocks cache."""
    where = parse(f"identity@{place}").place
    together = observe_together(decoder, [where, parse("identity@1").place], PROMPTS)[where]
    alone = observe_place(decoder, where, PROMPTS)
    assert (alone.place, alone.prompts, alone.sides) == (
        together.place,
        together.prompts,
        together.sides,
    )
    torch.testing.assert_close(torch.stack(together.rows), torch.stack(alone.rows))


def test_a_prompt_that_is_read_is_refused_as_an_example() -> None:
    """By its number; whoever learned a prompt has not read it."""
    with pytest.raises(OptionError, match=r"1 of 3 prompts of practice .* the first one prompt 1"):
        refuse_shared(((9, 9), PROMPTS[1], (8, 8)), PROMPTS, "of practice")


@pytest.mark.parametrize("kind", ["practice", "known"])
def test_attacks_do_not_begin_with_a_leak(kind: str, decoder: Decoder) -> None:
    """A prompt that is judged, planted among the examples, is found before anything is attacked."""
    leaked = [*drawn_prompts(4, 4, seed=1), PROMPTS[2]]
    sent = case(decoder, "1", ["identity"], PROMPTS, **{kind: leaked})
    with pytest.raises(OptionError, match=r"1 of 5 prompts .* the first one prompt 2"):
        run_attacks(decoder, [sent], seed=0)
