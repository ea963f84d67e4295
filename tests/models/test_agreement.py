from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models import agreement
from pytest_injectivity.models.agreement import (
    measure_agreement,
    verify_agreement,
    verify_agreement_once,
)
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import plant_nan, save_checkpoint, tiny_decoder
from tests.repetitions import SOME_FAMILIES, mostly_slow

WAYS = [
    "in a batch",
    "padded on the right",
    "behind a cached prefix",
    "behind a prefix grown in steps",
    "as one-token candidates",
    "as candidates side by side",
    "behind cached prefixes of several lengths",
]


@pytest.mark.parametrize("family", mostly_slow(TABLE, *SOME_FAMILIES))
def test_every_family_agrees_with_itself(family: str) -> None:
    """In true float64 all ways give the same states, past a short sliding window too."""
    found = verify_agreement(tiny_decoder(family))
    assert torch.float64 == found.dtype
    assert found.worst.relative <= 1e-12
    assert [way for way in WAYS if way != "as candidates side by side"] == [
        one.way for one in found.ways if one.way != "as candidates side by side"
    ]


def test_side_by_side_is_checked_where_masks_are_taken() -> None:
    """A family whose attention takes no masks has no such way."""
    masked = [one.way for one in measure_agreement(tiny_decoder("llama")).ways]
    unmasked = [one.way for one in measure_agreement(tiny_decoder("gpt_neo")).ways]
    assert WAYS == masked
    assert "as candidates side by side" not in unmasked


@pytest.mark.parametrize(
    ("dtype", "free", "expected"),
    [
        (torch.bfloat16, 2**30, torch.float64),
        (torch.bfloat16, 30_000, torch.float32),
        (torch.bfloat16, 0, torch.bfloat16),
        (torch.float32, 0, torch.float32),
    ],
)
def test_the_widest_dtype_that_fits_is_used(
    dtype: torch.dtype, free: int, expected: torch.dtype
) -> None:
    """Float64, else float32, else the model as it is, each with a tolerance of its own."""
    decoder = tiny_decoder("llama", dtype=dtype)
    found = measure_agreement(decoder, free=free)
    assert expected == found.dtype
    assert found.worst.relative <= found.tolerance
    assert dtype == decoder.dtype


class _Forgetful(Decoder):
    """A decoder whose continuation forgets the prefix, as a dropped recurrent state does."""

    def _forward(self, inputs: Tensor, layers: Any, keep: Any, cache: Any, **named: Any) -> Any:
        del cache
        return super()._forward(inputs, layers, keep, None, **named)


def _forgetful(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    monkeypatch.setattr(agreement, "Decoder", _Forgetful)
    return tiny_decoder("gpt_neo")  # whose ways need no mask as wide as the prefix


def test_a_prefix_that_is_forgotten_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the way, the layer and what is accepted."""
    with pytest.raises(
        ModelError, match=r"\(gpt_neo\): states computed .* prefix.* differ .* at layer\d\d .*1e-09"
    ):
        verify_agreement(_forgetful(monkeypatch))


def test_states_that_see_the_padding_are_named() -> None:
    """Attention that is not causal shows as soon as a row is padded."""
    decoder = tiny_decoder("llama")
    for block in decoder.parts.blocks:
        block.self_attn.is_causal = False
    found = {one.way: one.relative for one in measure_agreement(decoder).ways}
    assert found["padded on the right"] > 1e-3


def test_states_that_are_finite_nowhere_are_left_to_the_audit() -> None:
    """A model that computes NaN computes NaN in every way."""
    assert 0.0 == verify_agreement(plant_nan(tiny_decoder("gpt2"), 1)).worst.relative


def test_a_token_that_is_not_finite_is_left_to_the_audit() -> None:
    """Its NaN would reach every state of a prompt that it pads, whatever masks it."""
    decoder = tiny_decoder("gpt2")
    decoder.parts.embeddings.weight[torch.arange(64) % 3 > 0] = torch.nan
    assert verify_agreement(decoder).worst.relative <= 1e-12


def test_a_configuration_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second model of the same configuration costs nothing, another one is checked."""
    seen: list[str] = []
    monkeypatch.setattr(agreement, "verify_agreement", lambda decoder: seen.append(decoder.source))
    agreement._agreed.cache_clear()
    for width in (16, 16, 24):
        verify_agreement_once(tiny_decoder("llama", hidden=width))
    agreement._agreed.cache_clear()
    assert ["tiny:llama"] * 2 == seen


@pytest.mark.parametrize("context", [1, 2, 3, 4])
def test_a_short_context_leaves_out_what_it_has_no_room_for(context: int) -> None:
    """No prompt is longer than the model takes."""
    found = verify_agreement(tiny_decoder("gpt2", context=context))
    assert (2 if context < 3 else len(WAYS)) == len(found.ways)


def test_the_number_of_threads_is_put_back() -> None:
    """The check runs small models on one thread; what comes after it does not."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    measure_agreement(tiny_decoder("gpt2"))
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    assert 2 == found


def test_a_model_whose_ways_disagree_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each loading of a configuration that is new to the process is checked."""
    folder = save_checkpoint(tiny_decoder("gpt_neo", hidden=24), tmp_path / "checkpoint")
    monkeypatch.setattr(agreement, "Decoder", _Forgetful)
    agreement._agreed.cache_clear()
    with pytest.raises(ModelError, match=r"states computed .* prefix.* differ"):
        load_decoder(str(folder), device="cpu")
    monkeypatch.undo()
    assert 24 == load_decoder(str(folder), device="cpu").hidden_size
