from collections.abc import Callable

import pytest
import torch

from pytest_injectivity.config.release_place import Place, What
from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.observed import Observed, flatten_cache, observe_place
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable, deepest, measure_floor
from pytest_injectivity.testing import tiny_decoder

IDS = (5, 1, 8, 2)


def _table(decoder: Decoder, ids: tuple[int, ...], *places: Place) -> OneStepTable:
    prefix = decoder.prefix(torch.tensor(ids, dtype=torch.long), deepest(places))
    return OneStepTable(decoder, prefix, places)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gpt_neo"])
@pytest.mark.parametrize("what", ["states", "kv"])
@pytest.mark.parametrize("length", [0, 4])
def test_a_row_is_what_the_whole_prompt_would_give_away(
    family: str, what: What, length: int
) -> None:
    """Of states, keys and values alike, at the first position and after a prefix."""
    decoder, place = tiny_decoder(family), Place(2, what)
    ids = IDS[:length]
    rows = _table(decoder, ids, place).rows(place)
    assert decoder.vocab_size == len(rows)
    whole = observe_place(decoder, place, [(*ids, token) for token in (0, 7, 63)])
    expected = torch.stack([one[-1] for one in whole.rows])
    torch.testing.assert_close(rows[[0, 7, 63]], expected, rtol=1e-5, atol=1e-5)


def test_keys_and_values_stand_side_by_side() -> None:
    """Keys first, heads side by side."""
    decoder = tiny_decoder("llama")
    places = [Place(1, what) for what in ("keys", "values", "kv")]
    keys, values, both = (_table(decoder, IDS, *places).rows(place) for place in places)
    assert torch.equal(torch.cat([keys, values], dim=1), both)
    (cached, *_) = decoder.cached_candidates(
        decoder.prefix(torch.tensor(IDS), 1), torch.tensor([3, 9])
    )
    assert (2, 2, 1, 4) == tuple(cached[0].shape)
    assert torch.equal(keys[[3, 9]], flatten_cache(*cached, places[0])[0][:, 0])


def test_all_layers_come_from_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dearest part of an audit is done once."""
    decoder, places = tiny_decoder("gpt2"), [Place(1), Place(2), Place("norm")]
    table, asked = _table(decoder, IDS, *places), []
    run = decoder.candidates

    def counted(*args: object) -> dict[Layer, torch.Tensor]:
        asked.append(args[2])
        return run(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "candidates", counted)
    found = [table.rows(place) for place in (*places, places[0])]
    assert [(1, 2, "norm")] == asked
    assert found[0] is found[3]
    assert table.plain(places[0]) is table.plain(places[0])


def test_the_prior_is_the_models_own() -> None:
    """Even before any token, and then the softmax of its logits."""
    decoder, place = tiny_decoder("gpt2"), Place(1)
    assert not _table(decoder, (), place).surprise.any()
    found = _table(decoder, IDS, place).surprise
    expected = decoder.next_token_logits(torch.tensor(IDS)).softmax(dim=0)
    torch.testing.assert_close(torch.exp(-found), expected)


@pytest.mark.parametrize("place", ["1", "norm", "2 kv"])
def test_the_floor_is_no_less_than_what_two_evaluations_differ_by(
    place: str, observed: Callable[..., Observed], decoder: Decoder
) -> None:
    """A row and its own candidate are within it, and other tokens far outside."""
    seen = observed(place)
    first, later = measure_floor(decoder, seen)
    assert seen.prompts
    for ids, rows in zip(seen.prompts, seen.rows, strict=True):
        for position, token in enumerate(ids):
            table = _table(decoder, ids[:position], seen.place).rows(seen.place)
            away = (table.double() - rows[position].double()).norm(dim=1)
            nu = later if position else first
            assert away[token] <= nu
            assert away[torch.arange(len(away)) != token].min() > 100 * nu


def test_a_floor_is_at_least_one_rounding(
    observed: Callable[..., Observed], decoder: Decoder
) -> None:
    """Of the longest row measured at the position, and not of its largest coordinate."""
    seen = observed("1")
    least = [
        max(2.0**-24 * float(one.double().norm()) for rows in seen.rows for one in some(rows))
        for some in (lambda rows: rows[:1], lambda rows: rows[1:])
    ]
    found = measure_floor(decoder, seen)
    assert all(one <= nu < 100 * one for one, nu in zip(least, found, strict=True))


def test_a_floor_of_the_last_row_alone_serves_every_position(
    observed: Callable[..., Observed], decoder: Decoder
) -> None:
    """Where position 0 is not observed it has no floor of its own."""
    first, later = measure_floor(decoder, observed("1 last"))
    assert first == later > 0


def test_places_are_as_deep_as_their_layer() -> None:
    """The final norm is deeper than any block."""
    assert 2 == deepest([parse("identity@1").place, Place(2, "kv")])
    assert "norm" == deepest([Place("norm"), Place(2)])
