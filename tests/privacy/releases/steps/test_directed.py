from collections.abc import Callable

import numpy as np
import torch

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.evaluation.utility import measure_utility
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.row_use import row_use

Observe = Callable[..., Observed]


def test_it_is_as_loud_as_said_and_loud_where_next_tokens_depend_least(observed: Observe) -> None:
    """In every direction of the sensitivity the noise falls as that grows."""
    found = observed("1")
    noise = bind(parse("directed(sigma=0.5)@1"), found).noise
    assert np.isclose(0.5, noise.rms)
    sizes, directions = torch.linalg.eigh(row_use(found, 0).sensitivity)
    loud = (directions.T @ noise.covariance() @ directions).diagonal()
    assert (loud.diff() < 0).all()
    assert torch.allclose(
        loud * (sizes + 0.01 * sizes.mean()), loud[0] * (sizes[0] + 0.01 * sizes.mean())
    )


def test_it_costs_less_than_noise_in_all_directions(decoder: Decoder, observed: Observe) -> None:
    """That is what the directions are for."""
    prompts = [tuple(row) for row in torch.arange(60).reshape(12, 5).tolist()]
    found = observed("1", prompts)
    releases = [bind(parse(f"{one}(sigma=0.3 rel)@1"), found) for one in ("directed", "gaussian")]
    directed, gaussian = measure_utility(decoder, found, releases, 0)
    assert directed.mean_divergence < 0.8 * gaussian.mean_divergence
