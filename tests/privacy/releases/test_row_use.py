from collections.abc import Callable
from itertools import product

import pytest
import torch

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.resume import logits_from_states
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.row_use import RowUse, row_use

Observe = Callable[..., Observed]


def test_to_second_order_it_is_the_divergence(decoder: Decoder) -> None:
    """Of rows moved one by one in six directions, by running the rest of the model."""
    use = RowUse(decoder, 1, 4, (), 0)
    every = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)).double() / 100
    measured = []
    for ids in use._texts:
        states = decoder.states(ids[None], [1])[1]
        moved = states.repeat(len(every) * 3, 1, 1)
        for version, (at, away) in enumerate(product(range(1, 4), every)):
            moved[version, at] += away.float()
        found = logits_from_states(decoder, ids, 1, torch.cat([states, moved])).double()
        one, *others = found.log_softmax(dim=2)
        measured += [float((one.exp() * (one - other)).sum()) for other in others]
    expected = float(((every @ use.sensitivity) * every).sum()) / 2 / len(every)
    assert expected == pytest.approx(sum(measured) / len(measured), rel=0.15)


def test_texts_are_the_models_own_and_begin_as_prompts_do(decoder: Decoder) -> None:
    """As long as the prompts; no two seeds write the same."""
    use, other = (RowUse(decoder, 1, 5, (3,), seed) for seed in (0, 1))
    assert (48, 5) == tuple(use._texts.shape)
    assert {3} == set(use._texts[:, 0].tolist())
    assert (48 * 4, 16) == tuple(use.rows.shape)
    assert not torch.equal(use._texts, other._texts)


def test_it_is_computed_once_for_all_strengths(observed: Observe) -> None:
    """A sweep has many."""
    found = observed("1")
    assert row_use(found, 0) is row_use(found, 0)
    assert row_use(found, 0) is not row_use(found, 1)


@pytest.mark.parametrize("step", ["directed(sigma=1)", "learned(sigma=1)"])
@pytest.mark.parametrize("place", ["1 kv", "norm logits", "1 and 2"])
def test_a_step_that_needs_it_is_refused_elsewhere(
    step: str, place: str, observed: Observe
) -> None:
    """With what to give instead."""
    with pytest.raises(OptionError, match=r"needs what the model makes of .* as in .*@8"):
        bind(parse(f"{step}@{place}"), observed(place))


def test_a_step_that_needs_it_is_refused_behind_others(observed: Observe) -> None:
    """Its directions are those of rows as the model computes them."""
    with pytest.raises(OptionError, match=r"acts on these as they are: give it first"):
        bind(parse("rotate(seed=1)|directed(sigma=1)@1"), observed("1"))
