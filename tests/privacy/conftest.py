from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from pytest_injectivity.testing import tiny_decoder

PROMPTS = ((5, 1, 9, 30, 2), (7, 7, 3, 12, 40), (1, 2, 3, 4, 5))


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("llama")


@pytest.fixture(scope="session")
def observed(decoder: Decoder) -> Callable[..., Observed]:
    """What three prompts of five tokens give away at a place."""

    def at(place: str = "1", prompts: Sequence[Sequence[int]] = PROMPTS) -> Observed:
        return observe_place(decoder, parse(f"identity@{place}").place, prompts)

    return at


@pytest.fixture(scope="session")
def rows() -> Tensor:
    """Seven rows of width 16."""
    return torch.randn(7, 16, generator=torch.Generator().manual_seed(3))
