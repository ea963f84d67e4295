import pytest
import torch
from torch import Tensor

from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.lens_calibration import calibrate
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder
from tests.repetitions import mostly_slow


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shifting(vocab: int = 50) -> Decoder:
    """States are the sum of a token's row and a position's."""
    return additive_decoder(drawn(vocab, 16), drawn(12, 16, seed=1))


def of_rows(signatures: Tensor, rows: Tensor, whitener: Tensor | None = None) -> Lens:
    hidden = signatures.shape[1]
    return Lens(
        center=torch.zeros(1, hidden),
        signatures=signatures,
        whitener=torch.eye(hidden) if whitener is None else whitener,
        rows=rows,
        ranked=torch.ones(len(signatures), dtype=torch.bool),
        forwards=0,
    )


@pytest.mark.parametrize("position", mostly_slow([1, 5, 11], 5))
def test_where_the_map_is_a_shift_every_token_is_named(position: int) -> None:
    """All tokens, after positions calibrated; a mean for each position."""
    decoder = shifting()
    lens = calibrate(decoder, 1, tokens=4000, length=12)
    states = decoder.states(
        torch.cat([torch.zeros(50, position), torch.arange(50.0)[:, None]], 1).long(), [1]
    )
    queries = lens.uncorrected(states[1][:, position], torch.full((50,), position))
    assert list(range(50)) == lens.rank(queries, 1)[:, 0].tolist()


def test_beyond_the_positions_calibrated_one_known_state_tells_the_context() -> None:
    """The state of any token at the same place takes the place of the position's mean."""
    decoder = shifting()
    lens = calibrate(decoder, 2, tokens=4000, length=4)
    ids = list(range(3, 15))
    states = observe(decoder, ids, [2])[2]
    other = observe(decoder, [7] * 12, [2])[2]
    queries = lens.corrected(states, other, torch.tensor([7] * 12))
    assert ids[1:] == lens.rank(queries, 1)[1:, 0].tolist()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "mamba"])
def test_the_truth_is_ranked_far_above_chance(family: str) -> None:
    """On random decoders, of 64 tokens: first in most places, in the middle by chance."""
    decoder = tiny_decoder(family)
    lens = calibrate(decoder, 2, tokens=4096, length=16)
    ids = torch.randint(64, (20, 16), generator=torch.Generator().manual_seed(1))
    states = decoder.states(ids, [2])[2][:, 1:].flatten(0, 1)
    order = lens.rank(lens.uncorrected(states, torch.arange(1, 16).repeat(20)), 64)
    ranks = (order == ids[:, 1:].reshape(-1, 1)).nonzero()[:, 1]
    assert (ranks == 0).float().mean() > 0.3
    assert ranks.float().mean() < 8


@pytest.mark.parametrize("block_elements", [1, 100, 2**24])
def test_the_ranking_is_by_mahalanobis_distance(block_elements: int) -> None:
    """Against float64 solves with the covariance, in any blocks."""
    signatures, queries, root = drawn(40, 6), drawn(9, 6, seed=1), drawn(6, 6, seed=2)
    covariance = (root @ root.T).double() + torch.eye(6)
    whitener = torch.linalg.inv(torch.linalg.cholesky(covariance)).T.float()
    away = queries[:, None].double() - signatures[None].double()
    squared = (away @ torch.linalg.inv(covariance) * away).sum(dim=2)
    lens = of_rows(signatures, signatures, whitener)
    found = lens.rank(queries, 40, block_elements=block_elements)
    assert squared.argsort(dim=1).tolist() == found.tolist()


def test_states_computed_behind_a_prefix_turn_the_ranking() -> None:
    """A context that adds a map of the rows: unknown to the signatures, learned from 30 tokens."""
    rows, signatures = drawn(200, 8), drawn(200, 8, seed=1)
    context = signatures + rows @ drawn(8, 8, seed=2) + drawn(1, 8, seed=3)
    lens, computed = of_rows(signatures, rows), torch.arange(30)
    places = [
        lens.rank_behind(context[token], computed, context[:30], 200).tolist().index(token)
        for token in range(30, 200)
    ]
    plain = lens.rank(context[30:], 200)
    untold = (plain == torch.arange(30, 200)[:, None]).nonzero()[:, 1]
    assert sum(places) / len(places) < 5 < untold.float().mean()


def test_states_that_are_not_finite_turn_no_ranking() -> None:
    """A NaN among those computed is left out."""
    rows = drawn(40, 8)
    lens, states = of_rows(rows, rows), rows.clone()
    states[3] = torch.nan
    expected = lens.rank_behind(rows[20], torch.tensor([1, 2]), rows[[1, 2]], 40)
    found = lens.rank_behind(states[20], torch.tensor([1, 3, 2]), states[[1, 3, 2]], 40)
    assert expected.tolist() == found.tolist()


def test_a_token_that_is_not_finite_is_ranked_last() -> None:
    """And harms no other: it does not appear in the sequences."""
    decoder = tiny_decoder("llama")
    decoder.parts.embeddings.weight[9] = torch.nan
    lens = calibrate(decoder, 2, tokens=2048, length=8)
    states = observe(decoder, [1, 2, 3, 4], [2])[2]
    order = lens.rank(lens.uncorrected(states, torch.arange(4)), 64)
    assert [9] * 4 == order[:, -1].tolist()
    assert [list(range(64))] * 4 == order.sort(dim=1).values.tolist()


def test_a_model_that_yields_nan_has_some_order() -> None:
    """Every token once; no candidate will verify."""
    decoder = plant_nan(tiny_decoder(), 1)
    lens = calibrate(decoder, 2, tokens=512, length=8)
    queries = lens.uncorrected(torch.zeros(2, 16), torch.tensor([1, 2]))
    assert [list(range(64))] * 2 == lens.rank(queries, 64).sort(dim=1).values.tolist()
