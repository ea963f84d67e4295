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
    closest_pair,
    distances,
    local_margin,
    one_step_margin,
)
from pytest_injectivity.testing import additive_decoder, plant_equal_embeddings, tiny_decoder

IDS = (5, 1, 8, 8, 2, 60, 33, 7, 12, 4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "mistral", "mamba"])
@pytest.mark.parametrize("layer", [0, 1, 2, "norm"])
@pytest.mark.parametrize("length", [0, 1, 10])
def test_the_map_is_the_last_state_of_the_whole_prompt(
    family: str, layer: Layer, length: int
) -> None:
    """A cached prefix, longer than a sliding window too, changes no more than rounding."""
    decoder, prefix = tiny_decoder(family), IDS[:length]
    found = OneStep.of(decoder, layer, prefix).table()
    whole = torch.tensor([[*prefix, token] for token in range(decoder.vocab_size)])
    expected = decoder.states(whole, [layer])[layer][:, -1]
    assert expected.dtype == found.dtype
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_one_token_on_is_a_longer_prefix_and_the_shorter_stays() -> None:
    """``after`` extends a copy: the map it came from answers as before."""
    decoder = tiny_decoder("llama")
    short = OneStep.of(decoder, 2, IDS[:3])
    before = short.table()
    longer = short.after(IDS[3]).table()
    torch.testing.assert_close(longer, OneStep.of(decoder, 2, IDS[:4]).table())
    assert torch.equal(before, short.table())


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


def test_distances_are_those_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of two rows gives what one block of all gives."""
    states = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    expected = distances(states, states[4])
    monkeypatch.setattr("pytest_injectivity.inversion.one_step._BLOCK_ELEMENTS", 6)
    assert torch.equal(expected, distances(states, states[4]))


def test_the_local_margin_is_the_nearest_rivals() -> None:
    """The answer itself is no rival; a candidate that is not finite is none either."""
    states = torch.tensor([[0.0], [5.0], [3.0], [torch.nan]])
    assert [3.0, 2.0, 2.0] == [local_margin(states, answer) for answer in range(3)]
    assert math.inf == local_margin(states[:1], 0)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(2, 30), st.integers(1, 4)),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_the_closest_pair_is_that_of_all_pairs(rows: np.ndarray) -> None:
    """Against every pair by subtraction in float64; ties may name any pair that attains it."""
    exact = rows.astype(np.float64)
    every = np.sqrt(((exact[:, None] - exact[None]) ** 2).sum(axis=-1))
    np.fill_diagonal(every, np.inf)
    found = closest_pair(torch.from_numpy(rows))
    assert found.pair is not None
    assert found.pair[0] < found.pair[1]
    np.testing.assert_allclose(found.value, every.min(), rtol=1e-12)
    np.testing.assert_allclose(every[found.pair], every.min(), rtol=1e-12)


def test_candidates_that_are_not_finite_are_left_out_and_counted() -> None:
    """The pair keeps the ids of the whole table."""
    rows = torch.tensor([[0.0], [torch.nan], [9.0], [torch.inf], [8.5]])
    found = closest_pair(rows)
    assert (0.5, (2, 4), 2) == (found.value, found.pair, found.not_finite)


def test_no_pair_has_no_margin() -> None:
    """One finite candidate: NaN, which passes no gate."""
    found = closest_pair(torch.tensor([[1.0], [torch.nan]]))
    assert math.isnan(found.value)
    assert found.pair is None


def test_the_one_step_margin_of_known_geometry() -> None:
    """Blocks that write nothing: the margin is that of the embedding rows, at any prefix."""
    tokens = torch.tensor([[0.0, 4.0], [3.0, 0.0], [3.0, 1.5], [9.0, 9.0]]).repeat(1, 4)
    decoder = additive_decoder(
        tokens, torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    )
    for prefix in ((), (3,), (0, 2, 1)):
        found = one_step_margin(decoder, 2, prefix)
        assert (1, 2) == found.pair
        assert found.value == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_equal_embeddings_have_no_one_step_margin(family: str) -> None:
    """Zero up to the rounding of the batch, and the planted pair is named."""
    decoder = plant_equal_embeddings(tiny_decoder(family), kept=9, copied=41)
    for layer in (0, 1, 2):
        found = one_step_margin(decoder, layer, (7, 7))
        assert (9, 41) == found.pair
        assert found.value < 1e-5
