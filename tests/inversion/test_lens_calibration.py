"""What a lens is calibrated on, and which calibration is kept for whom."""

from collections.abc import Sequence

import pytest
import torch

from pytest_injectivity.inversion.lens_calibration import (
    CALIBRATION_TOKENS,
    Lenses,
    balanced_sequences,
    calibrate,
    calibration_size,
)
from pytest_injectivity.testing import tiny_decoder


@pytest.mark.parametrize(("tokens", "length"), [(640, 16), (100, 16), (7, 50)])
def test_every_token_appears_equally_often(tokens: int, length: int) -> None:
    """But for the last pass over them; tokens that are not usable do not appear."""
    usable = torch.arange(3, 40)
    rows = balanced_sequences(usable, tokens, length, seed=0)
    counts = torch.bincount(rows.flatten(), minlength=40)
    assert 0 == counts[:3].sum()
    assert counts[3:].max() - counts[3:].min() <= 1
    assert rows.shape[1] <= length
    assert rows.equal(balanced_sequences(usable, tokens, length, seed=0))
    assert not rows.equal(balanced_sequences(usable, tokens, length, seed=1))


def test_a_calibration_stays_below_the_search_it_saves() -> None:
    """A quarter of it for few positions, 32,768 tokens at most, fewer for a large vocabulary."""
    assert 20 * 2048 // 4 > calibration_size(2048, 128, 20) == 4 * 2048
    assert 3 * 2048 // 4 == calibration_size(2048, 128, 3)
    assert CALIBRATION_TOKENS == calibration_size(30_000, 512, 2000)
    assert 16 * 896 == calibration_size(151_936, 896, 2000)
    assert 1 == calibration_size(1, 8, 1)


def test_known_tokens_begin_the_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they do to later states is in the means; none of their positions is used."""
    prompts = []
    decoder = tiny_decoder("llama")
    states = decoder.states
    monkeypatch.setattr(
        decoder, "states", lambda ids, layers: prompts.append(ids) or states(ids, layers)
    )
    lens = calibrate(decoder, 2, tokens=640, length=10, known=(7, 5))
    assert all((ids[:, :2] == torch.tensor([7, 5])).all() for ids in prompts)
    assert (10, 16) == lens.center.shape
    assert 0 == lens.center[:2].abs().max() < lens.center[2:].abs().min(dim=1).values.max()


@pytest.mark.parametrize(
    ("name", "other"),
    [("layer", 1), ("tokens", 700), ("length", 9), ("known", (7,)), ("seed", 1)],
)
def test_a_lens_is_kept_by_everything_it_was_asked_for(
    name: str, other: int | Sequence[int]
) -> None:
    """The same arguments give the same object; any other argument another lens."""
    lenses, decoder = Lenses(), tiny_decoder()
    asked = {"layer": 2, "tokens": 640, "length": 10, "known": (), "seed": 0}
    first = lenses.calibrated(decoder, **asked)
    changed = lenses.calibrated(decoder, **{**asked, name: other})
    assert first is lenses.calibrated(decoder, **asked)
    assert changed is not first
    assert not (
        first.center.shape == changed.center.shape and torch.equal(first.center, changed.center)
    )


def test_a_lens_of_another_model_is_another() -> None:
    """Models of the same family and shape are told apart."""
    lenses = Lenses()
    one, other = (
        lenses.calibrated(tiny_decoder(seed=seed), 2, tokens=640, length=10) for seed in (0, 1)
    )
    assert not torch.equal(one.center, other.center)
