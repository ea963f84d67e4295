"""A token that makes a state hundreds of times as long as others, in the prompt or in the sample."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pytest_injectivity.inversion.policies import Situation
from pytest_injectivity.inversion.recovery import Outcome, Status
from pytest_injectivity.inversion.sipit import recover
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.resolution import LayerResolution
from pytest_injectivity.states.tolerance_by_norm import SINK, ToleranceByNorm
from pytest_injectivity.testing import additive_decoder, tiny_decoder
from tests.inversion.observing import drawn, observed
from tests.resolutions import resolution_of

LAYER = 2
MASSIVE, KEPT, NEAR = 201, 7, 9
NONE, MAKING, MEASURING = slice(0), slice(0, None, 2), slice(1, None, 2)
PROMPT = (5, 1, MASSIVE, 33, 12, 60)


def _with_a_massive_token() -> Decoder:
    """Its embedding row is 1,000 times as long as others."""
    decoder = tiny_decoder("llama", vocab=256)
    decoder.parts.embeddings.weight[MASSIVE] *= 1000
    return decoder


def _resolution(decoder: Decoder, sinks: slice) -> LayerResolution:
    """Over prompts of which some hold the massive token: every second one makes the scale."""
    prompts = [[token for token in ids if token != MASSIVE] for ids in drawn(8, 20)]
    for ids in prompts[sinks]:
        ids.insert(2, MASSIVE)
    return resolution_of(decoder, prompts, [LAYER])[LAYER]


@pytest.mark.parametrize("policy", ["lens", "random"])
def test_a_sink_that_is_in_no_sample_is_verified(policy: str) -> None:
    """Another evaluation of its state: each coordinate is one unit in the last place away."""
    decoder = _with_a_massive_token()
    resolution = _resolution(decoder, NONE)
    states = observed(decoder, PROMPT, LAYER)
    states[2] = torch.nextafter(states[2], torch.tensor(torch.inf))
    settings = {"scales": resolution.scales, "policy": policy}
    found = recover(decoder, states, LAYER, eps=resolution.scaled_tolerance, **settings)
    assert found.exact(PROMPT)
    sink = found.outcomes[2]
    assert Status.CERTIFIED == sink.status
    assert sink.away > 4 * resolution.radii[1]
    # One tolerance for all lengths refuses it, backoff included.
    absolute = recover(decoder, states, LAYER, eps=resolution.radii, **settings)
    assert (PROMPT, Status.NEAREST) == (absolute.ids, absolute.outcomes[2].status)


@dataclass(frozen=True)
class _NearFirst:
    """Tests the wrong neighbor before the token."""

    def order(self, at: Situation) -> Iterator[Tensor]:  # noqa: ARG002 - the protocol's
        """The neighbor alone."""
        yield torch.tensor([NEAR])


def test_a_sink_in_the_sample_does_not_make_a_wrong_neighbor_of_another_state_acceptable() -> None:
    """The neighbor is nearer than evaluations of the sink to each other, and far for its own length."""
    decoder = _with_a_massive_token()
    rows = decoder.parts.embeddings.weight
    rows[NEAR] = rows[KEPT] * (1 + 6e-6)
    resolution = _resolution(decoder, MEASURING)
    prompt = (5, KEPT, 33)
    states, wrong = (observed(decoder, (5, one, 33), LAYER) for one in (KEPT, NEAR))
    away = float(resolution.scales.later.norms(wrong[1] - states[1]))
    assert resolution.radii[1] < away < resolution.later.radius
    settings = {"scales": resolution.scales, "policy": _NearFirst(), "batch": 1}
    found = recover(decoder, states, LAYER, eps=resolution.scaled_tolerance, **settings)
    assert found.exact(prompt)
    # A radius that a sink makes accepts it.
    radii = resolution.first.radius, resolution.later.radius
    assert (5, NEAR) == recover(decoder, states, LAYER, eps=radii, **settings).ids[:2]


def test_a_sink_in_the_sample_does_not_make_the_coordinates_of_others_coarse() -> None:
    """As fine as they are without it."""
    decoder = _with_a_massive_token()
    with_sink, without = (_resolution(decoder, one).later for one in (MAKING, NONE))
    assert with_sink.distance > 10 * with_sink.ordinary
    assert (with_sink.scale.values < 8 * without.scale.values).all()


def _second(tokens: tuple[float, ...], state: float) -> Outcome:
    """What a state is taken for, of tokens on a line; the median length is 1."""
    rows = torch.zeros(len(tokens), 8, dtype=torch.float64)
    rows[:, 0] = torch.tensor(tokens)
    states = torch.zeros(2, 8, dtype=torch.float64)
    states[:, 0] = torch.tensor([tokens[0], state])
    decoder = additive_decoder(rows, torch.zeros(4, 8, dtype=torch.float64))
    eps = ToleranceByNorm((0.01,), (1.0,))
    return recover(decoder, states, 1, eps=eps, backoff=1.0, certify=True).outcomes[1]


@pytest.mark.parametrize(
    ("tokens", "state", "status", "token"),
    [
        ((1, 1000, 1100), 1000.3, Status.CERTIFIED, 1),  # within 10
        ((1, 1000, 1100), 1015.0, Status.NEAREST, 1),
        ((1, 1000, 1029), 1000.3, Status.AMBIGUOUS, 1),  # 28.7 <= 10 + 2 * 10
        ((1, 1.5, 1000), 1.3, Status.NEAREST, 1),  # its length is that of most
        ((1, 0.001, 0.02, 1000), 0.004, Status.AMBIGUOUS, 1),  # a short one has no finer tolerance
        ((1, 0.001, 0.1, 1000), 0.02, Status.NEAREST, 1),
        ((1, SINK, 1000), SINK - 0.05, Status.NEAREST, 1),
    ],
)
def test_a_tolerance_in_proportion_to_the_length_accepts_what_is_unique_within_it(
    tokens: tuple[float, ...], state: float, status: Status, token: int
) -> None:
    """The tolerance is 0.01, and of a state longer than eight a hundredth of its length."""
    found = _second(tokens, state)
    assert (status, token) == (found.status, found.token)
