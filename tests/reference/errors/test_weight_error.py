"""Weight errors against their definitions, in float64."""

import math

import pytest
import torch
from torch import Tensor
from transformers import OlmoConfig, OlmoForCausalLM

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.bounds import TURNED, bounds_of
from pytest_injectivity.reference.errors.weight_error import (
    GROUP,
    WeightError,
    tensor_error,
    weight_errors,
)
from pytest_injectivity.reference.errors.weight_finding import finding
from pytest_injectivity.reference.parts import Part
from pytest_injectivity.testing import plant_nan, round_weights, tiny_decoder

PART = Part("layer01", "model.layers.0.mlp.up_proj", "mlp.up_proj", "up")


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _by_name(child: Decoder, parent: Decoder) -> dict[tuple[str, str], WeightError]:
    return {(one.site, one.name): one for one in weight_errors(child, parent)}


def test_error_and_gain_follow_their_definitions() -> None:
    """Of the tensor, of its worst row and of its worst group."""
    exact = _drawn(5, 4 * GROUP)
    own = exact + 0.1 * _drawn(5, 4 * GROUP, seed=1)
    own[3] *= 2.0
    one = tensor_error(PART, "weight", own, exact)
    wide, apart = exact.double(), own.double() - exact.double()
    assert one.error == pytest.approx(float(apart.norm() / wide.norm()))
    assert one.gain == pytest.approx(float((own.double() * wide).sum() / wide.square().sum()))
    rows = apart.norm(dim=1) / wide.norm(dim=1)
    assert one.median_row == pytest.approx(float(rows.median()))
    assert (one.row.row, one.row.error) == (3, pytest.approx(float(rows[3])))
    groups = apart.view(5, 4, GROUP).square().mean(2).sqrt() / wide.square().mean().sqrt()
    assert one.group.error == pytest.approx(float(groups.max()))
    assert (one.group.row, one.group.start) == (3, GROUP * int(groups[3].argmax()))


@pytest.mark.parametrize(
    ("own", "exact", "error", "gain"),
    [
        (torch.zeros(2, 2), torch.zeros(2, 2), 0.0, 1.0),
        (torch.ones(2, 2), torch.zeros(2, 2), math.inf, math.inf),
        (-torch.ones(2, 2), torch.ones(2, 2), 2.0, -1.0),
        (torch.zeros(2, 2), torch.ones(2, 2), 1.0, 0.0),
    ],
)
def test_zeros_and_signs(own: Tensor, exact: Tensor, error: float, gain: float) -> None:
    """Zeros that are kept have no error; what stands where zeros stood has an infinite one."""
    found = tensor_error(PART, "weight", own, exact)
    assert (found.error, found.gain) == (pytest.approx(error), pytest.approx(gain))


def test_a_number_that_is_not_finite_is_an_error_that_is_no_number() -> None:
    """And is found, whatever the bits are."""
    errors = _by_name(plant_nan(tiny_decoder("llama"), 2), tiny_decoder("llama"))
    found = {key for key, one in errors.items() if math.isnan(one.error)}
    assert {site for site, _ in found} == {"layer02"}
    said = finding(errors["layer02", "self_attn.q_proj"], 4)
    assert (said.times, said.words) == (math.inf, "self_attn.q_proj is not finite")


def test_a_fused_module_is_told_apart() -> None:
    """A factor of the keys of GPT-2 is one of its keys alone."""
    child = tiny_decoder("gpt2")
    child.parts.blocks[1].attn.c_attn.weight[:, 16:32].mul_(1.5)
    errors = _by_name(child, tiny_decoder("gpt2"))
    assert {key: one.error for key, one in errors.items() if one.error} == {
        ("layer02", "attn.c_attn[k]"): pytest.approx(0.5)
    }


def test_a_head_of_its_own_is_compared_with_one_that_is_shared() -> None:
    """The embeddings' matrix stands for the parent's head."""
    parent = tiny_decoder("gpt2")
    child = tiny_decoder("gpt2", tie_word_embeddings=False)
    model = child.model
    model.lm_head.weight = torch.nn.Parameter(-child.parts.embeddings.weight)
    assert ("head", "lm_head") not in _by_name(tiny_decoder("gpt2"), parent)
    assert _by_name(child, parent)["head", "lm_head"].gain == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weight: weight.mul_(1.5), "mlp.up_proj is 1.5 times the parent's"),
        (lambda weight: weight.neg_(), "mlp.up_proj is -1 times the parent's"),
        (lambda weight: weight[7].mul_(8.0), "mlp.up_proj, row 7, is 8 times the parent's"),
        (lambda weight: weight.copy_(weight.flip(0)), "mlp.up_proj is off by 1."),
    ],
)
def test_the_words_say_what_is_wrong(change: object, words: str) -> None:
    """A factor, a row, or an error."""
    exact = _drawn(64, 64)
    own = exact.clone()
    change(own)  # type: ignore[operator] # parametrized
    found = finding(tensor_error(PART, "weight", own, exact), 4)
    assert found.words.startswith(words)
    assert found.times > 1


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_to_the_bits_that_were_proved_is_no_finding(bits: int) -> None:
    """And rounding to fewer is one."""
    parent = tiny_decoder("llama", hidden=64)
    errors = weight_errors(round_weights(tiny_decoder("llama", hidden=64), bits), parent)
    assert max(finding(one, bits).times for one in errors) <= 1
    coarser = weight_errors(round_weights(tiny_decoder("llama", hidden=64), bits // 2), parent)
    assert max(finding(one, bits).times for one in coarser) > 1


def test_a_shared_head_stands_for_a_final_norm_without_weights() -> None:
    """So that the layer after the norm has a tensor to be judged by (OLMo, tied)."""

    def made() -> Decoder:
        torch.manual_seed(0)
        config = OlmoConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            tie_word_embeddings=True,
            pad_token_id=None,
            eos_token_id=None,
        )
        return Decoder("tiny:olmo", OlmoForCausalLM(config).float())

    found = _by_name(round_weights(made(), 8), made())
    assert ("head", "lm_head") in found
    assert 0.0 == found["head", "lm_head"].error


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.5, -1.0])
def test_a_row_of_usual_size_that_is_lost_is_named(factor: float) -> None:
    """Whatever rounding leaves of another one, which is too small to be held by 4 bits."""
    exact = _drawn(64, 64)
    exact[5] *= 1e-3
    own = exact + 0.1 * _drawn(64, 64, seed=1)
    own[5] = 0.0
    assert finding(tensor_error(PART, "weight", own, exact), 4).times <= 1
    own[9] = factor * exact[9]
    found = finding(tensor_error(PART, "weight", own, exact), 4)
    assert "error of a row" == found.quantity
    assert found.times > 1
    assert f"mlp.up_proj, row 9, is {factor:g} times the parent's" == found.words


def test_a_small_row_of_which_rounding_leaves_nothing_is_no_heavy_one() -> None:
    """Its error is relative to the rows' root mean square; by hand, in float64."""
    exact, own = _drawn(64, 64), _drawn(64, 64)
    exact[5] *= 1e-3
    own[5] = 0.0
    own[9] *= 1.2
    one = tensor_error(PART, "weight", own, exact)
    assert (5, pytest.approx(1.0)) == (one.row.row, one.row.error)
    wide = exact.double()
    norm = max(float(wide[9].norm()), float(wide.square().sum(1).mean().sqrt()))
    assert 9 == one.heavy_row.row
    assert float((own.double() - wide)[9].norm()) / norm == pytest.approx(one.heavy_row.error)


def test_a_tensor_that_one_model_lacks_is_compared_with_zeros() -> None:
    """A bias of the child alone has an infinite error, one of the parent alone an error of 1."""
    plain, biased = tiny_decoder("llama"), tiny_decoder("qwen2")
    key = ("layer01", "self_attn.q_proj.bias")
    added, lost = _by_name(biased, plain)[key], _by_name(plain, biased)[key]
    assert ("model", math.inf) == (added.only, added.error)
    assert ("parent", 1.0, 0.0) == (lost.only, lost.error, lost.gain)
    said = [finding(one, 4).words for one in (added, lost)]
    name = "self_attn.q_proj.bias: the "
    assert [f"{name}parent has none", f"{name}model has none"] == said


def test_a_bias_of_zeros_that_one_model_lacks_has_no_error() -> None:
    """It adds nothing; quantized layers may be written with one."""
    plain, biased = tiny_decoder("llama"), tiny_decoder("qwen2")
    for name, tensor in biased.model.named_parameters():
        if name.endswith("bias"):
            tensor.data.zero_()
    key = ("layer01", "self_attn.q_proj.bias")
    found = [_by_name(biased, plain)[key], _by_name(plain, biased)[key]]
    assert [("model", 0.0), ("parent", 0.0)] == [(one.only, one.error) for one in found]
    assert all(finding(one, 16).times == 0 for one in found)


def test_a_part_of_the_child_alone_is_wrong_whatever_its_numbers_are() -> None:
    """A norm of zeros adds a norm."""
    child = tiny_decoder("qwen3")
    child.model.get_submodule("model.layers.0.self_attn.q_norm").weight.data.zero_()  # type: ignore[union-attr, operator]
    found = _by_name(child, tiny_decoder("llama"))["layer01", "self_attn.q_norm"]
    assert ("model", math.inf) == (found.only, found.error)
    assert "self_attn.q_norm: the parent has none" == finding(found, 4).words


def _long_tailed(*shape: int) -> Tensor:
    """Weights with outliers, as trained models have them."""
    drawn = _drawn(*shape)
    return drawn * (1.0 + drawn.abs() ** 2)


@pytest.mark.parametrize(("bits", "factor"), [(3, 2.0), (4, 1.5), (8, 1.1), (16, 1.05)])
def test_a_group_that_is_too_large_is_a_finding(bits: int, factor: float) -> None:
    """One of thousands, in a row whose error alone is accepted."""
    exact = _long_tailed(128, 32 * GROUP)
    own = exact.clone()
    groups = exact.view(128, 32, GROUP).square().sum(2)
    at = int((groups - groups.mean()).clamp(min=0).where(groups >= groups.mean(), 1e9).argmin())
    row, group = divmod(at, 32)
    own.view(128, 32, GROUP)[row, group] *= factor
    found = finding(tensor_error(PART, "weight", own, exact), bits)
    assert found.times > 1
    assert (
        f"mlp.up_proj, row {row}, inputs from {GROUP * group}, is {factor:.3g} times" in found.words
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [GROUP, 2 * GROUP, 8 * GROUP])
def test_rounding_makes_no_group_too_large(bits: int, group: int) -> None:
    """With outliers, in groups that are longer than those looked at."""
    exact = _long_tailed(64, 16 * GROUP)
    grouped = exact.view(64, -1, group)
    scale = grouped.abs().amax(2, keepdim=True) / (2 ** (bits - 1) - 1)
    own = ((grouped / scale).round() * scale).view(exact.shape)
    loud = tensor_error(PART, "weight", own, exact).loud_group
    assert loud.gain - 1 <= bounds_of(bits).loud_group


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_group_that_is_turned_over_is_a_finding(bits: int) -> None:
    """In a row so wide that its error alone is accepted."""
    exact = _long_tailed(64, 256 * GROUP)
    own = exact.clone()
    own.view(64, 256, GROUP)[0, 0] = exact.view(64, 256, GROUP)[0, 0] = 6.0
    own.view(64, 256, GROUP)[0, 0] *= -1.0
    found = finding(tensor_error(PART, "weight", own, exact), bits)
    assert found.times > 1
    assert "mlp.up_proj, row 0, inputs from 0, is -1 times the parent's" == found.words


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [GROUP, 8 * GROUP])
def test_rounding_turns_no_group_over(bits: int, group: int) -> None:
    """With outliers that leave nothing of what stands beside them."""
    exact = _long_tailed(64, 16 * GROUP)
    exact[:, ::97] *= 30.0
    grouped = exact.view(64, -1, group)
    scale = grouped.abs().amax(2, keepdim=True) / (2 ** (bits - 1) - 1)
    own = ((grouped / scale).round() * scale).view(exact.shape)
    assert -tensor_error(PART, "weight", own, exact).turned_group.gain < TURNED / 2


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_said(value: float) -> None:
    """The error of its tensor is none."""
    exact = _drawn(8, GROUP)
    own = exact.clone()
    own[3, 4] = value
    found = tensor_error(PART, "weight", own, exact)
    assert math.isnan(found.error)
    assert "mlp.up_proj is not finite" == finding(found, 4).words
