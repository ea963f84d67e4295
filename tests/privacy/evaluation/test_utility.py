from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.evaluation.utility import Utility, measure_utility, why_no_utility
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.steps.identity import IdentityRelease
from pytest_injectivity.privacy.releases.steps.logprobs import LogprobsRelease
from pytest_injectivity.privacy.releases.steps.permute import PermuteRelease
from pytest_injectivity.privacy.releases.steps.rotate import RotateRelease
from pytest_injectivity.testing import tiny_decoder
from tests.privacy.conftest import PROMPTS

Observe = Callable[..., Observed]


@dataclass(frozen=True, eq=False)
class _Shifted(DeterministicRelease):
    by: float = 1.0

    def image(self, candidates: Any) -> Any:
        return candidates + self.by * torch.linspace(-1, 1, self.width)


def _measured(decoder: Decoder, found: Observed, *releases: Release) -> Sequence[Utility]:
    return measure_utility(decoder, found, releases, 0)


@pytest.mark.parametrize(
    "place", ["0", "1", "2", "norm", "1 keys", "2 values", "1 kv", "norm logits", "1 and 2"]
)
def test_the_identity_keeps_all(decoder: Decoder, observed: Observe, place: str) -> None:
    """Every preferred token, and the distribution to the last places."""
    found = observed(place)
    (kept,) = _measured(decoder, found, IdentityRelease(found.width))
    assert 1.0 == kept.agreement
    assert abs(kept.mean_divergence) < 1e-9
    each = 1 if found.place.cached else 5
    assert (each,) * 3 == kept.judged


@pytest.mark.parametrize(
    "release", [RotateRelease(16, 1), PermuteRelease(16)], ids=["rotated", "permuted"]
)
def test_what_the_receiver_undoes_costs_nothing(
    decoder: Decoder, observed: Observe, release: Release
) -> None:
    """Without the receiver's side a rotation would have no utility by construction."""
    (kept,) = _measured(decoder, observed("1"), release)
    assert 1.0 == kept.agreement
    assert kept.mean_divergence < 1e-8


def test_agreement_and_divergence_are_those_of_the_two_passes(
    decoder: Decoder, observed: Observe
) -> None:
    """In float64, from the states at the layer run through the rest of the model by hand."""
    release, found = _Shifted(16, 2.0), observed("1")
    agreed, divergence = [], []
    for ids, rows in zip(PROMPTS, found.rows, strict=True):
        one = _softmax(_rest(decoder, decoder.states(torch.tensor([ids]), [1])[1]))
        other = _softmax(_rest(decoder, release.image(rows)[None]))
        agreed.append(int((one.argmax(axis=1) == other.argmax(axis=1)).sum()))
        divergence.append(float((one * np.log(one / other)).sum()))
    assert any(count < 5 for count in agreed)
    (kept,) = _measured(decoder, found, release)
    assert tuple(agreed) == kept.agreed
    assert np.allclose(divergence, kept.divergence, rtol=1e-4)
    assert np.isclose(sum(divergence) / 15, kept.mean_divergence, rtol=1e-4)
    assert sum(agreed) / 15 == kept.agreement


def test_releases_do_not_see_each_other(decoder: Decoder, observed: Observe) -> None:
    """Measured together or alone."""
    found = observed("1")
    shifted, identity = _Shifted(16, 2.0), IdentityRelease(16)
    together = _measured(decoder, found, shifted, identity, shifted)
    assert together[0] == together[2]
    (alone,) = _measured(decoder, found, shifted)
    assert together[0].agreed == alone.agreed
    assert np.allclose(together[0].divergence, alone.divergence, rtol=1e-5)
    assert 1.0 == together[1].agreement


def test_memory_is_bounded_by_blocks(decoder: Decoder, observed: Observe) -> None:
    """One release at a time gives what all at once give."""
    found, releases = observed("1"), [_Shifted(16, float(by)) for by in range(5)]
    together = _measured(decoder, found, *releases)
    apart = measure_utility(decoder, found, releases, 0, most_logits=1)
    assert 5 == len(together)
    for one, other in zip(together, apart, strict=True):
        assert one.agreed == other.agreed
        assert np.allclose(one.divergence, other.divergence, rtol=1e-5)


@pytest.mark.parametrize("place", ["1 keys", "1 values", "1 kv"])
def test_a_released_cache_changes_the_next_token(
    decoder: Decoder, observed: Observe, place: str
) -> None:
    """Of the sides released alone: measured behind the cache of all tokens but the last."""
    found = observed(place)
    (kept,) = _measured(decoder, found, _Shifted(found.width, 5.0))
    assert kept.mean_divergence > 1e-4
    assert (1, 1, 1) == kept.judged


def test_a_part_of_the_positions_goes_on_as_a_part(decoder: Decoder, observed: Observe) -> None:
    """Judged where there are states: what is not observed is missing, and that costs."""
    found = observed("1 every=2")
    (kept,) = _measured(decoder, found, IdentityRelease(16))
    assert (3, 3, 3) == kept.judged
    assert kept.mean_divergence > 1e-4


def test_guesses_are_the_models_own(decoder: Decoder, observed: Observe) -> None:
    """What it prefers after the true tokens, against the next one: no state is needed for that."""
    (kept,) = _measured(decoder, observed("1"), IdentityRelease(16))
    expected = []
    for ids in PROMPTS:
        before = [decoder.next_token_logits(torch.tensor(ids[:at])) for at in range(1, 5)]
        expected.append(sum(int(one.argmax()) == ids[at] for at, one in enumerate(before, start=1)))
    assert tuple(expected) == kept.guessed
    assert (4, 4, 4) == kept.guesses


def test_no_number_agrees_with_nothing(decoder: Decoder, observed: Observe) -> None:
    """A pass that breaks is not one that keeps its utility."""
    (kept,) = _measured(decoder, observed("1"), _Shifted(16, float("nan")))
    assert 0.0 == kept.agreement
    assert np.isnan(kept.mean_divergence)


@pytest.mark.parametrize(
    ("family", "place", "why"),
    [
        ("llama", "1", ""),
        ("llama", "1 last", ""),
        ("llama", "1 mean", "no pass goes on from the mean"),
        ("llama", "1 answer", "no pass goes on from the mean"),
        ("llama", "1 kv", ""),
        ("mamba", "1", ""),
        ("mamba", "1 every=2", "its blocks count them themselves"),
        ("mistral", "1 last", "its blocks count them themselves"),
        ("llama", "1 kv last", "a part of the cache"),
    ],
)
def test_why_nothing_goes_on(family: str, place: str, why: str) -> None:
    """Said in words; empty where something does."""
    found = why_no_utility(tiny_decoder(family), parse(f"identity@{place}").place, PROMPTS)
    assert why in found
    assert bool(why) == bool(found)


def test_one_token_leaves_no_cache() -> None:
    """To read it behind."""
    place = parse("identity@1 kv").place
    assert "prompts of one token" in why_no_utility(tiny_decoder("llama"), place, [(3,), (4,)])


def test_it_says_how_far_it_is(decoder: Decoder) -> None:
    """A prompt at a time."""
    seen: list[int] = []
    found = observe_place(decoder, parse("identity@1").place, PROMPTS)
    measure_utility(decoder, found, [IdentityRelease(16)], 0, seen.append)
    assert [1, 2, 3] == seen


def _rest(decoder: Decoder, states: Tensor) -> Tensor:
    """Block 2, the final norm and the head, called one by one."""
    model: Any = decoder.model
    places = torch.arange(states.shape[1])[None]
    with torch.no_grad():
        turned = model.model.rotary_emb(states, places)
        block = model.model.layers[1]
        mask = torch.full((5, 5), -torch.inf).triu(1)[None, None]
        out = block(states, attention_mask=mask, position_ids=places, position_embeddings=turned)
        out = out[0] if isinstance(out, tuple) else out
        logits: Tensor = model.lm_head(model.model.norm(out))
    return logits[0]


def _softmax(logits: Tensor) -> np.ndarray:
    wide = logits.double().numpy()
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_logits_are_used_as_they_come(decoder: Decoder, observed: Observe) -> None:
    """No pass goes on from them; the most likely token alone keeps every preference."""
    found = observed("norm logits")
    whole, best = _measured(decoder, found, LogprobsRelease(64, 64), LogprobsRelease(64, 1))
    assert whole.agreement == 1.0
    assert whole.mean_divergence == pytest.approx(0.0, abs=1e-5)
    assert best.mean_divergence > 0.01


def test_the_perplexity_is_that_of_the_prompts_own_next_tokens(
    decoder: Decoder, observed: Observe
) -> None:
    """In float64, from the states at the layer run through the rest of the model by hand."""
    release, found = _Shifted(16, 2.0), observed("1")
    more = 0.0
    for ids, rows in zip(PROMPTS, found.rows, strict=True):
        one = _softmax(_rest(decoder, decoder.states(torch.tensor([ids]), [1])[1]))
        other = _softmax(_rest(decoder, release.image(rows)[None]))
        more += float(np.log(one / other)[range(4), ids[1:]].sum())
    (kept,) = _measured(decoder, found, release)
    assert (4, 4, 4) == kept.continued
    assert np.isclose(np.exp(more / 12), kept.perplexity_ratio, rtol=1e-4)


@pytest.mark.parametrize("place", ["1 last", "1 kv"])
def test_without_a_next_token_in_the_prompt_there_is_no_perplexity(
    decoder: Decoder, observed: Observe, place: str
) -> None:
    """A prompt does not say what comes after it."""
    found = observed(place)
    (kept,) = _measured(decoder, found, IdentityRelease(found.width))
    assert np.isnan(kept.perplexity_ratio)


def test_the_perplexity_of_positions_observed_alone_is_compared(
    decoder: Decoder, observed: Observe
) -> None:
    """Of five tokens three are observed, of which the last has no next one in the prompt."""
    found = observed("1 every=2")
    (kept,) = _measured(decoder, found, IdentityRelease(found.width))
    assert (2, 2, 2) == kept.continued


def test_logits_are_compared_as_they_are(decoder: Decoder, observed: Observe) -> None:
    """No pass goes on from them."""
    found = observed("norm logits")
    (kept,) = _measured(decoder, found, IdentityRelease(found.width))
    assert (4, 4, 4) == kept.continued
    assert np.isclose(1.0, kept.perplexity_ratio)
