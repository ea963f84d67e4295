import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.one_step import (
    OneStep,
    distances,
    distances_from_each,
    local_margin,
)
from pytest_injectivity.testing import tiny_decoder

IDS = (5, 1, 8, 8, 2, 60, 33, 7, 12, 4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "mistral", "mamba"])
@pytest.mark.parametrize("layer", [0, 1, 2, "norm"])
@pytest.mark.parametrize("length", [0, 1, 10])
def test_the_map_is_the_last_state_of_the_whole_prompt(
    family: str, layer: Layer, length: int
) -> None:
    """A cached prefix, longer than a sliding window too, changes no more than rounding."""
    decoder, prefix = tiny_decoder(family), IDS[:length]
    found = OneStep.of(decoder, layer, prefix)(torch.arange(decoder.vocab_size))
    whole = torch.tensor([[*prefix, token] for token in range(decoder.vocab_size)])
    expected = decoder.states(whole, [layer])[layer][:, -1]
    assert expected.dtype == found.dtype
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_one_token_on_is_a_longer_prefix_and_the_shorter_stays() -> None:
    """``after`` extends a copy: the map it came from answers as before."""
    decoder = tiny_decoder("llama")
    short = OneStep.of(decoder, 2, IDS[:3])
    before = short(torch.arange(decoder.vocab_size))
    longer = short.after(IDS[3])(torch.arange(decoder.vocab_size))
    torch.testing.assert_close(
        longer, OneStep.of(decoder, 2, IDS[:4])(torch.arange(decoder.vocab_size))
    )
    assert torch.equal(before, short(torch.arange(decoder.vocab_size)))


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 5)),
        elements=st.floats(-9, 9, width=32),
    ),
    st.floats(-1e3, 1e3, width=32),
)
def test_distances_are_float64_subtraction(rows: np.ndarray, offset: float) -> None:
    """Rows far from the origin lose nothing, where a product of norms would."""
    states = torch.from_numpy(rows) + offset
    exact = states.numpy().astype(np.float64)
    expected = np.sqrt(((exact - exact[0]) ** 2).sum(axis=1))
    np.testing.assert_allclose(distances(states, states[0]).numpy(), expected, rtol=1e-12)


def test_close_rows_of_great_norm_are_told_apart() -> None:
    """Two float32 rows of norm 1000, one unit in the last place apart."""
    row = torch.full((100,), 100.0)
    other = row.clone()
    other[3] = torch.nextafter(other[3], torch.tensor(torch.inf))
    assert float(other[3].double() - 100) == float(distances(other[None], row)[0])


def test_a_candidate_that_is_not_finite_is_infinitely_far() -> None:
    """NaN compares with nothing: it must not be nearest."""
    states = torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0], [1.0, 0.0]])
    assert [math.inf, math.inf, 1.0] == distances(states, torch.zeros(2)).tolist()


@pytest.mark.parametrize("block_elements", [1, 6, 2**22])
def test_distances_are_those_of_the_blocks(block_elements: int) -> None:
    """A block of one or two rows gives what one block of all gives."""
    states = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    found = distances_from_each(states, states[3:5], block_elements=block_elements)
    assert torch.equal(torch.stack([distances(states, states[at]) for at in (3, 4)]), found)


def test_the_local_margin_is_the_nearest_rivals() -> None:
    """The answer itself is no rival; a candidate that is not finite is none either."""
    states = torch.tensor([[0.0], [5.0], [3.0], [torch.nan]])
    assert [3.0, 2.0, 2.0] == [local_margin(states, answer) for answer in range(3)]
    assert math.inf == local_margin(states[:1], 0)
