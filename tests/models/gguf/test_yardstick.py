"""A real published file: what is loaded of it, and how long it takes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pytest_injectivity.models.agreement import verify_agreement
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.quiet import quiet
from tests.yardstick import yardstick

pytestmark = pytest.mark.slow
TEXTS = [
    "def f(x):\n    return x",
    "Ein Satz mit ä, ö und ü.",
    " \n\n tabs\tand 123,456 <|im_end|>",
]


@pytest.fixture(scope="module")
def path() -> Path:
    pytest.importorskip("gguf")
    return yardstick()


def test_it_is_what_the_library_loads_and_is_loaded_sooner(
    path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Every parameter bit for bit, every text's ids, in less than the library's own time."""
    began = time.perf_counter()
    decoder = load_decoder(str(path), device="cpu")
    ours = time.perf_counter() - began
    began = time.perf_counter()
    loader: Any = AutoModelForCausalLM.from_pretrained
    with quiet():
        expected = loader(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    library = time.perf_counter() - began
    found = dict(decoder.model.named_parameters())
    parameters = dict(expected.named_parameters())
    assert set(parameters) == set(found)
    assert all(parameter.equal(found[name]) for name, parameter in parameters.items())
    assert isinstance(decoder.tokenizer, type(tokenizer))
    assert [tokenizer.encode(text) for text in TEXTS] == [
        decoder.tokenizer.encode(text) for text in TEXTS
    ]
    ids = torch.arange(24)[None] * 997 % decoder.vocab_size
    with torch.no_grad():
        states = expected(ids, output_hidden_states=True).hidden_states
    assert decoder.states(ids, [15])[15].equal(states[15])
    record_property("seconds", f"{ours:.1f}, of the library {library:.1f}")
    assert ours < library


def test_its_ways_agree(path: Path) -> None:
    """Whole, batched, padded and continued in float64, over 30 layers."""
    assert verify_agreement(load_decoder(str(path), device="cpu")).worst.relative < 1e-12


def test_what_is_quantized_of_it_is_proved(path: Path) -> None:
    """All matrices of the blocks, in four bits."""
    found = load_decoder(str(path), device="cpu").quantized
    assert found is not None
    assert ("gguf Q4_1", 4.0, 1.0) == (found.kind, found.bits, found.share)
