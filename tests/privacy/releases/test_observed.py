from collections.abc import Callable

import pytest
import torch

from pytest_injectivity.config.release_place import ANSWERED
from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import LayerError, ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import cache_name
from pytest_injectivity.models.resume import logits
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from pytest_injectivity.privacy.releases.steps.permute import PermuteRelease
from pytest_injectivity.privacy.releases.steps.rotate import RotateRelease
from pytest_injectivity.testing import KEY_VALUE_HEADS, SLIDING_WINDOW, tiny_decoder
from tests.privacy.conftest import PROMPTS

Observe = Callable[..., Observed]


@pytest.mark.parametrize("layer", [0, 1, 2, "norm"])
def test_states_are_the_models(decoder: Decoder, observed: Observe, layer: Layer) -> None:
    """At every position, as one pass over the prompt gives them."""
    found = observed(str(layer))
    assert (layer, (decoder.hidden_size,)) == (found.layer, found.sides)
    for ids, rows in zip(PROMPTS, found.rows, strict=True):
        assert torch.equal(decoder.states(torch.tensor([ids]), [layer])[layer][0], rows)


@pytest.mark.parametrize("which", ["last", "every=2", "every=3"])
def test_some_positions_are_rows_of_all(observed: Observe, which: str) -> None:
    """Those that the place names."""
    every, some = observed("1"), observed(f"1 {which}")
    assert len(PROMPTS) == len(some.rows)
    for at, rows in enumerate(some.rows):
        assert torch.equal(every.rows[at][list(some.positions(at))], rows)


def test_a_mean_is_one_row_of_all_positions(observed: Observe) -> None:
    """Of each prompt."""
    every, mean = observed("1"), observed("1 mean")
    assert [(1, every.width)] * len(PROMPTS) == [tuple(rows.shape) for rows in mean.rows]
    assert torch.allclose(every.rows[1].mean(dim=0), mean.rows[1][0])


def test_an_answer_is_one_row_of_what_the_model_says(decoder: Decoder, observed: Observe) -> None:
    """The mean state of the likeliest next tokens, and of no token of the prompt."""
    whole = list(PROMPTS[1])
    with torch.no_grad():
        for _ in range(ANSWERED):
            whole.append(int(decoder.model(torch.tensor([whole])).logits[0, -1].argmax()))
    states = decoder.states(torch.tensor([whole]), [1])[1][0, len(PROMPTS[1]) :]
    assert ANSWERED == len(states)
    assert torch.allclose(states.mean(dim=0), observed("1 answer").rows[1][0], atol=1e-6)


@pytest.mark.parametrize("layer", [1, 2])
def test_keys_and_values_are_what_the_library_caches(
    decoder: Decoder, observed: Observe, layer: int
) -> None:
    """Heads side by side, keys first."""
    heads, dim = KEY_VALUE_HEADS, decoder.hidden_size // 4
    for at, ids in enumerate(PROMPTS):
        cached_by = cache_name(decoder.model)
        cache = decoder.model(torch.tensor([ids]), use_cache=True)[cached_by]
        for what, side in (("keys", "keys"), ("values", "values")):
            cached = getattr(cache.layers[layer - 1], side)[0]
            found = observed(f"{layer} {what}")
            assert (heads * dim,) == found.sides
            expected = torch.stack(
                [torch.cat([cached[head, t] for head in range(heads)]) for t in range(len(ids))]
            )
            assert torch.allclose(expected, found.rows[at], atol=1e-6)
    both = observed(f"{layer} kv")
    assert (heads * dim, heads * dim) == both.sides
    assert both.width == both.rows[0].shape[1]
    apart = [observed(f"{layer} {what}").rows[0] for what in ("keys", "values")]
    assert torch.equal(torch.cat(apart, dim=1), both.rows[0])


def test_a_layer_that_is_not_there_is_refused(observed: Observe) -> None:
    """As everywhere."""
    with pytest.raises(LayerError, match="layer 9 is out of range"):
        observed("9")


def test_a_model_without_a_cache_is_refused() -> None:
    """Its states can be observed."""
    mamba = tiny_decoder("mamba")
    with pytest.raises(ModelError, match="caches no keys and values that could be transferred"):
        observe_place(mamba, parse("identity@1 kv").place, PROMPTS)
    assert 5 == len(observe_place(mamba, parse("identity@1").place, PROMPTS).rows[0])


def test_a_window_that_forgot_the_beginning_is_refused() -> None:
    """What its block no longer caches is not transferred."""
    mistral = tiny_decoder("mistral")
    place = parse("identity@1 kv").place
    longer = [tuple(range(SLIDING_WINDOW + 4))]
    with pytest.raises(ModelError, match="block 1 of tiny:mistral caches the last"):
        observe_place(mistral, place, longer)
    assert 5 == len(observe_place(mistral, place, PROMPTS).rows[0])


def test_the_receiver_has_what_was_observed(observed: Observe) -> None:
    """Turned and turned back, shuffled and put back: for each prompt with its own draw."""
    found = observed("1")
    for release in (RotateRelease(16, 3), PermuteRelease(16)):
        sent = found.released(release, 7)
        assert any(
            not torch.allclose(one, rows) for one, rows in zip(sent, found.rows, strict=True)
        )
        for one, rows in zip(found.received(release, 7), found.rows, strict=True):
            assert torch.allclose(one, rows, atol=1e-5)


def test_what_is_sent_does_not_depend_on_the_other_prompts(
    decoder: Decoder, observed: Observe
) -> None:
    """A prompt's draw is its own."""
    alone = observe_place(decoder, parse("identity@1").place, PROMPTS[1:2])
    release = PermuteRelease(16)
    assert torch.equal(observed("1").released(release, 7)[1], alone.released(release, 7)[0])


def test_a_repr_shows_no_prompt(observed: Observe) -> None:
    """Pytest prints arguments of failing tests."""
    assert "30" not in repr(observed("1"))


def test_logits_are_the_models(decoder: Decoder, observed: Observe) -> None:
    """At every position, from the states of the final norm."""
    found = observed("norm logits")
    ids = torch.tensor(found.prompts[0])
    torch.testing.assert_close(found.rows[0], logits(decoder, ids))


def test_a_vocabulary_too_large_for_logits_is_refused(
    observed: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is run, with what to observe instead."""
    monkeypatch.setattr("pytest_injectivity.privacy.releases.observed.MOST_LOGITS", 100)
    with pytest.raises(
        ModelError, match=r"64 times 64 numbers a position, .* observe norm instead"
    ):
        observed("norm logits")
