from collections.abc import Callable
from pathlib import Path

import pytest

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
