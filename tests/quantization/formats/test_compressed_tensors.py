from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.formats.compressed_tensors import CompressedTensors

pytest.importorskip("compressed_tensors")
SCHEME = {"num_bits": 8, "symmetric": True}


def model(said: Any, *, rounds: bool) -> nn.Module:
    """A module of this configuration, whose keys are rounded or are not."""
    attention = nn.Linear(1, 1)
    if rounds:
        attention.k_scale = nn.Parameter(attention.weight.data)
    made = nn.Sequential(attention)
    made.config = SimpleNamespace(quantization_config=said)  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    "said",
    [
        {"kv_cache_scheme": SCHEME},
        SimpleNamespace(quantization_config=SimpleNamespace(kv_cache_scheme=SCHEME)),
    ],
)
def test_keys_that_should_be_rounded_and_are_not_are_refused(said: Any) -> None:
    """As the library leaves them where it does not know the name of a block's cache."""
    with pytest.raises(
        ModelError, match=r"rounds keys and values as it runs .* leaves them as they"
    ):
        CompressedTensors().settle(model(said, rounds=False))
    CompressedTensors().settle(model(said, rounds=True))


@pytest.mark.parametrize("said", [{}, {"kv_cache_scheme": None}, None])
def test_keys_that_should_not_be_rounded_are_none_to_refuse(said: Any) -> None:
    """Most checkpoints round weights alone."""
    plain = model(said, rounds=False)
    CompressedTensors().settle(plain)
    assert not any(map(CompressedTensors().rounds_activations, plain.modules()))
