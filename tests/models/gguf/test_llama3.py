"""Factors of frequencies, against rotations computed by hand in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.gguf.llama3 import (
    factors_of_llama3,
    llama3_parameters,
    llama3_parameters_of,
)
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import tiny_decoder
from tests.gguf_files import write_gguf

BASE, CONTEXT, HEAD = 500000.0, 4096, 64


def script_factors(
    head: int, base: float, factor: float, old: int, *, low: float = 1.0, high: float = 4.0
) -> np.ndarray:
    """What the script that makes files writes, frequency by frequency, as float32."""
    written = []
    for place in range(0, head, 2):
        frequency = float(np.float32(1) / np.float32(base ** np.float32(place / head)))
        wavelength = 2 * np.pi / frequency
        if wavelength < old / high:
            written.append(1.0)
        elif wavelength > old / low:
            written.append(factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            written.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(written, np.float32)


def rotations(
    positions: np.ndarray, base: float, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of each position's angles: a frequency is divided by its factor."""
    count = len(factors)
    frequencies = [base ** (-pair / count) / float(factors[pair]) for pair in range(count)]
    angles = np.array([[place * one for one in frequencies] for place in positions.tolist()])
    return np.cos(angles), np.sin(angles)


def loaded(folder: Path, factors: np.ndarray, **more: Any) -> Any:
    """The model of a file that holds these factors."""
    parent = tiny_decoder(
        "llama",
        hidden=HEAD,
        layers=1,
        context=CONTEXT,
        head_dim=HEAD,
        rope_parameters={"rope_type": "default", "rope_theta": BASE},
    )
    file = write_gguf(parent, folder / "model.gguf", tensors={"rope_freqs.weight": factors}, **more)
    return load_decoder(str(file), device="cpu").model


FACTORS = {
    "of Llama 3.1": script_factors(HEAD, BASE, 8.0, 1024),
    "of Llama 3.2": script_factors(HEAD, BASE, 32.0, 1024),
    "of no parameters": np.linspace(1, 5, HEAD // 2).astype(np.float32),
    "with frequencies left out": np.array([1.0, 1e30] * (HEAD // 4), np.float32),
}


@pytest.mark.parametrize("kind", FACTORS)
def test_a_file_is_rotated_by_its_factors(kind: str, tmp_path: Path) -> None:
    """The model's table is that of float64 up to the rounding of frequencies in float32."""
    positions = np.array([0, 1, 7, 500, CONTEXT - 1])
    rotary = loaded(tmp_path, FACTORS[kind]).model.rotary_emb
    found = rotary(torch.zeros(1, dtype=torch.float32), torch.from_numpy(positions)[None])
    own = np.stack([one[0].double().numpy() for one in found])
    table = np.tile(np.stack(rotations(positions, BASE, FACTORS[kind])), 2)
    assert own.shape == table.shape
    # A frequency is rounded twice, and multiplied by the position.
    assert np.all(np.abs(own - table) <= 4e-7 * (1 + positions[:, None]))


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_factors_of_llama3_are_said_as_its_parameters(factor: float, tmp_path: Path) -> None:
    """The configuration reads as that of the checkpoint the file was made from."""
    said = loaded(tmp_path, script_factors(HEAD, BASE, factor, 1024)).config.rope_parameters
    assert {**llama3_parameters_of(factor, 1024), "rope_theta": BASE} == said


def test_other_factors_are_not_said_as_llama3(tmp_path: Path) -> None:
    """One frequency that is a hundred-thousandth off is another function."""
    factors = script_factors(HEAD, BASE, 8.0, 1024)
    factors[-1] *= np.float32(1 - 1e-5)
    said = loaded(tmp_path, factors).config.rope_parameters
    assert "longrope" == said["rope_type"]
    assert factors.tolist() == said["short_factor"] == said["long_factor"]


def test_as_many_factors_as_pairs_of_rotated_numbers_are_needed(tmp_path: Path) -> None:
    """A file of another width of heads is refused, with both numbers."""
    with pytest.raises(ModelError, match=r"rope_freqs\.weight holds 8 factors, .*64 .*32 in all"):
        loaded(tmp_path, np.ones(8, np.float32))


@given(
    head=st.sampled_from([16, 64, 128]),
    base=st.sampled_from([1e4, 5e5, 1e6]),
    factor=st.sampled_from([2.0, 8.0, 16.0, 32.0]),
    old=st.sampled_from([512, 2048, 8192, 32768]),
)
def test_parameters_are_found_again(head: int, base: float, factor: float, old: int) -> None:
    """Those that are found give the factors of the file, whatever its sizes."""
    written = script_factors(head, base, factor, old).astype(np.float64)
    found = llama3_parameters(written, base, None)
    # Where no frequency is divided by the whole factor the parameters are not to be found; such
    # factors are taken as they are.
    assert (found is None) == (abs(written.max() - factor) > 2e-6 * factor)
    if found is not None:
        again = factors_of_llama3(len(written), base, found)
        np.testing.assert_allclose(again, written, rtol=2e-6)


def test_an_original_context_that_the_file_says_is_the_only_one_tried() -> None:
    """Other contexts would contradict the file."""
    written = script_factors(HEAD, BASE, 8.0, 1024).astype(np.float64)
    assert llama3_parameters(written, BASE, 1024) is not None
    assert llama3_parameters(written, BASE, 2048) is None
