"""Factors that quantization moves from one part to the next are taken back; damage is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.rescaled import taken_back
from pytest_injectivity.reference.errors.weight_error import WeightError, weight_errors
from pytest_injectivity.reference.errors.weight_finding import Finding, finding
from pytest_injectivity.reference.parts import parts_of
from pytest_injectivity.testing import round_weights, tiny_decoder
from scripts.families.small_models import small_config, small_model

FACTOR = torch.linspace(0.4, 2.5, 16)
WIDE = torch.linspace(0.4, 2.5, 32)


def _llama() -> Decoder:
    return tiny_decoder("llama", layers=2)


def _fold_norm(decoder: Decoder, *, back: bool = True) -> Decoder:
    """As SmoothQuant does: a norm is divided, and what reads it multiplied."""
    block = decoder.parts.blocks[0]
    block.input_layernorm.weight.div_(FACTOR)
    for side in ("q", "k", "v") if back else ():
        getattr(block.self_attn, f"{side}_proj").weight.mul_(FACTOR)
    return decoder


def _fold_values(decoder: Decoder, *, back: bool = True) -> Decoder:
    """As AWQ does, where two heads of queries share one of values."""
    attention = decoder.parts.blocks[0].self_attn
    factor = FACTOR[:8]
    attention.v_proj.weight.div_(factor[:, None])
    if back:
        shared = factor.view(2, 4).repeat_interleave(2, dim=0).flatten()
        attention.o_proj.weight.mul_(shared)
    return decoder


def _fold_up(decoder: Decoder, *, back: bool = True) -> Decoder:
    block = decoder.parts.blocks[0]
    block.mlp.up_proj.weight.div_(WIDE[:, None])
    if back:
        block.mlp.down_proj.weight.mul_(WIDE)
    return decoder


FOLDS = (_fold_norm, _fold_values, _fold_up)


def _found(child: Decoder) -> dict[str, WeightError]:
    parent = _llama()
    errors = taken_back(child, parent, parts_of(parent), weight_errors(child, parent))
    return {one.name: one for one in errors if one.site == "layer01"}


@pytest.mark.parametrize("fold", FOLDS)
def test_a_factor_that_the_next_part_takes_back_is_no_error(fold: Callable[..., Decoder]) -> None:
    """The function is the same, and what was scaled is said."""
    ids = torch.tensor([[1, 2, 3, 4]])
    child = fold(_llama())
    assert child.states(ids, [2])[2].allclose(_llama().states(ids, [2])[2], atol=1e-4)
    found = _found(child)
    assert max(one.error for one in found.values()) < 1e-5
    assert 2 <= sum(bool(one.rescaled) for one in found.values())


@pytest.mark.parametrize("fold", FOLDS)
def test_rounding_after_a_fold_leaves_its_own_error(fold: Callable[..., Decoder]) -> None:
    """As much as rounding without one, within a factor of two."""
    plain = _found(round_weights(_llama(), 4, group=8))
    found = _found(round_weights(fold(_llama()), 4, group=8))
    assert any(one.rescaled for one in found.values())
    assert all(one.error < 2.5 * plain[name].error + 1e-9 for name, one in found.items())


@pytest.mark.parametrize("fold", FOLDS)
def test_a_factor_that_nothing_takes_back_is_an_error(fold: Callable[..., Decoder]) -> None:
    """It stays with the part that has it."""
    found = _found(fold(_llama(), back=False))
    assert not any(one.rescaled for one in found.values())
    assert 1 == sum(one.error > 0.1 for one in found.values())


@pytest.mark.parametrize("name", ["v_proj", "o_proj"])
def test_a_wrong_scale_is_not_taken_back(name: str) -> None:
    """A part that is 1.5 times too large, with the next one as it was."""
    child = round_weights(_llama(), 4, group=8)
    getattr(child.parts.blocks[0].self_attn, name).weight.mul_(1.5)
    found = _found(child)
    assert not any(one.rescaled for one in found.values())
    assert f"self_attn.{name}" == max(found.values(), key=lambda one: one.error).name


def test_a_projection_after_the_blocks_is_no_norm() -> None:
    """OPT's small models end in a matrix, and not in a norm; its factor is measured as a matrix's."""
    settings = {"word_embed_proj_dim": 8, "do_layer_norm_before": False}
    parent, child = (tiny_decoder("opt", **settings) for _ in range(2))
    assert parent.parts.norm is None
    model: Any = child.model
    model.model.decoder.project_out.weight.mul_(1.5)
    found = {
        (one.site, one.name): one
        for one in taken_back(child, parent, parts_of(parent), weight_errors(child, parent))
    }
    assert 0.5 == pytest.approx(found["norm", "project_out"].error)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_a_final_norm_before_a_shared_head_has_no_part_to_give_a_factor_to(family: str) -> None:
    """The head's matrix is the embeddings': a larger gain is damage."""
    parent, child = tiny_decoder(family), tiny_decoder(family)
    norm: Any = child.parts.norm
    norm.weight.mul_(1.5)
    errors = taken_back(child, parent, parts_of(parent), weight_errors(child, parent))
    (one,) = [one for one in errors if one.site == "norm" and one.tensor == "weight"]
    assert 0.5 == pytest.approx(one.error, abs=1e-6)
    assert "" == one.rescaled


@pytest.mark.parametrize("fold", [_fold_values, _fold_up])
def test_a_damaged_row_beside_a_factor_is_named_as_it_is(fold: Callable[..., Decoder]) -> None:
    """The factor is taken back, and the row is three times the parent's."""
    child = round_weights(fold(_llama()), 8, group=8)
    side = "self_attn.v_proj" if fold is _fold_values else "mlp.up_proj"
    child.parts.blocks[0].get_submodule(side).weight[3] *= 3.0  # type: ignore[union-attr, operator]
    found = _found(child)[side]
    assert (3, pytest.approx(2.0, rel=0.05)) == (found.row.row, found.row.error)


def test_a_damaged_channel_of_a_norm_beside_a_factor_stays() -> None:
    """Though nothing else is left of the norm."""
    child = round_weights(_fold_norm(_llama()), 3, group=8)
    child.parts.blocks[0].input_layernorm.weight[3] *= 3.0  # type: ignore[union-attr, operator]
    assert _found(child)["input_layernorm"].error > 0.3


@pytest.mark.parametrize("fold", FOLDS)
def test_a_lost_sign_beside_a_factor_is_no_part_of_it(fold: Callable[..., Decoder]) -> None:
    """Nothing after it has a lost sign: the part itself is named, not what reads it."""
    child = fold(_llama())
    name = {_fold_norm: "input_layernorm", _fold_values: "self_attn.v_proj"}.get(
        fold, "mlp.up_proj"
    )
    child.parts.blocks[0].get_submodule(name).weight[3] *= -1.0  # type: ignore[union-attr, operator]
    found = _found(child)
    assert [name] == [one.name for one in found.values() if one.error > 1e-5]
    assert found[name].rescaled


@pytest.mark.parametrize("kind", ["cohere", "falcon", "gptj", "phi"])
def test_a_norm_that_is_alone_in_its_block_gives_its_factor_to_the_mlp_too(kind: str) -> None:
    """Attention and MLP stand side by side, and both read it."""
    child, parent = (Decoder(kind, small_model(small_config(kind, {}))) for _ in range(2))
    here = [part for part in parts_of(child) if part.site == "layer01"]
    (norm,) = [part.of(child) for part in here if part.role == "attention norm"]
    gains: list[torch.Tensor] = [one.data for one in norm.parameters()]
    factor = torch.linspace(0.4, 2.5, len(gains[0]))
    for gain in gains:
        gain.div_(factor)
    readers = {part.module for part in here if part.role in {"q", "k", "v", "gate", "up"}}
    for path in readers:
        child.model.get_submodule(path).weight.data.mul_(factor)  # type: ignore[union-attr, operator]
    found = taken_back(child, parent, parts_of(parent), weight_errors(child, parent))
    assert max(one.error for one in found) < 1e-5


def _folded_at_random(seed: int) -> Decoder:
    """A norm, values and ``up`` with factors as far apart as activations are."""
    decoder = tiny_decoder("llama", layers=1, hidden=64, intermediate_size=128)
    draw = torch.Generator().manual_seed(seed)
    block = decoder.parts.blocks[0]
    attention, mlp = block.self_attn, block.mlp
    of_norm, of_values, of_up = (
        (0.8 * torch.randn(size, generator=draw)).exp() for size in (64, 32, 128)
    )
    block.input_layernorm.weight.div_(of_norm)
    for side in ("q", "k", "v"):
        getattr(attention, f"{side}_proj").weight.mul_(of_norm)
    attention.v_proj.weight.div_(of_values[:, None])
    attention.o_proj.weight.mul_(of_values.view(2, 16).repeat_interleave(2, dim=0).flatten())
    mlp.up_proj.weight.div_(of_up[:, None])
    mlp.down_proj.weight.mul_(of_up)
    return decoder


def _worst(child: Decoder, bits: float) -> Finding:
    parent = tiny_decoder("llama", layers=1, hidden=64, intermediate_size=128)
    errors = taken_back(child, parent, parts_of(parent), weight_errors(child, parent))
    return max((finding(one, bits) for one in errors), key=lambda one: one.times)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_sound_weights_with_moved_factors_are_within_the_bounds(seed: int, bits: int) -> None:
    """What was rounded is held to what rounding explains, and not what stands for it in the parent."""
    assert _worst(round_weights(_folded_at_random(seed), bits, group=32), bits).times < 0.9


@pytest.mark.parametrize("name", ["input_layernorm", "mlp.up_proj"])
def test_a_channel_that_is_a_third_too_large_beside_a_factor_is_a_finding(name: str) -> None:
    """In 8 bits, where what reads it says exactly what was moved: most was out of a small channel."""
    child = round_weights(_folded_at_random(0), 8, group=32)
    weight = child.parts.blocks[0].get_submodule(name).get_parameter("weight").data
    weight[weight.reshape(len(weight), -1).norm(dim=1).argmin()] *= 1.35
    found = _worst(child, 8)
    assert found.times > 1
    assert name == found.error.name


def test_a_channel_that_is_gone_has_no_factor() -> None:
    """Though nothing reads it any more either."""
    child = _folded_at_random(0)
    mlp = child.parts.blocks[0].mlp
    mlp.up_proj.weight[3] = 0.0
    mlp.down_proj.weight[:, 3] = 0.0
    assert "mlp.up_proj, row 3, is 0 times the parent's" in _worst(child, 16).words
