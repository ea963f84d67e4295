from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder

_SHARED = Path(__file__).parents[2] / ".." / "shared" / "models"


@pytest.fixture
def shared_decoder() -> Callable[[str], Decoder]:
    """A small trained model; skips the test where there is none."""

    def load(name: str) -> Decoder:
        if not (_SHARED / name / "config.json").is_file():
            pytest.skip(f"the trained model {name} is not on this machine")
        return load_decoder(str(_SHARED / name), device="cpu")

    return load


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What is said of bits is said of one thread count."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
