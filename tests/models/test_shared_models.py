"""The trained models beside this repository, where they are."""

from collections.abc import Callable
from itertools import cycle, product

import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.assumptions import assumptions
from pytest_injectivity.models.checkpoint import resolve
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from tests.repetitions import mostly_slow

LibraryStates = Callable[[Decoder, Tensor], dict[Layer, Tensor]]
Relative = Callable[[Tensor, Tensor], float]


MODELS = ["gpt2-1m", "qwen3-1m", "slm4096-gpt2", "stories260k-llama"]
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}


@pytest.mark.parametrize(
    ("name", "dtype"),
    mostly_slow([*product(MODELS, TOLERANCE)], *zip(MODELS, cycle(TOLERANCE), strict=False)),
)
def test_states_equal_the_librarys(
    name: str,
    dtype: str,
    shared_model: Callable[[str], str],
    library_states: LibraryStates,
    relative: Relative,
) -> None:
    """Rows of 1 to 120 tokens, in a right-padded batch, have the states they have alone."""
    decoder = load_decoder(shared_model(name), dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(decoder.vocab_size, (n,), generator=generator) for n in (1, 120, 17)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    last = torch.tensor([len(row) - 1 for row in rows])
    found = decoder.states(padded, [0, *decoder.layers], positions=last)
    assert decoder.layers == tuple(layer for layer in found if layer)
    for i, row in enumerate(rows):
        for layer, expected in library_states(decoder, row).items():
            assert relative(found[layer][i], expected[-1]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("name", MODELS)
def test_float64_is_within_rounding_of_float32(
    name: str, shared_model: Callable[[str], str], relative: Relative
) -> None:
    """True float64 moves a trained model's states by a few units of float32 rounding."""
    folder = shared_model(name)
    ids = torch.arange(40)[None]
    exact = load_decoder(folder, dtype="float64").states(ids, ["norm"])["norm"]
    found = load_decoder(folder).states(ids, ["norm"])["norm"]
    assert torch.float64 == exact.dtype
    assert 1e-9 < relative(found, exact) < 5e-6


@pytest.mark.parametrize("name", MODELS)
def test_the_configuration_agrees_with_the_model(
    name: str, shared_model: Callable[[str], str]
) -> None:
    """The number of layers known without weights is that of the decoder."""
    folder = shared_model(name)
    decoder = load_decoder(folder)
    assert decoder.n_layers == resolve(folder).n_layers
    assert decoder.tokenizer.encode("a")
    assert assumptions(decoder).hold
