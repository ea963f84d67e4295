"""Blame on models with one damaged part."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.blame.blame import Blame, blame
from pytest_injectivity.reference.errors.rescaled import groups_of
from pytest_injectivity.reference.parts import Part, parts_of
from pytest_injectivity.testing import plant_nan, round_weights, tiny_decoder
from tests.repetitions import SOME_FAMILIES, mostly_slow

IDS = [[3 * at % 64, at, 7, 11, (5 * at + 1) % 64] for at in range(12)]
FAMILIES = ("gpt2", "llama", "qwen3", "phi3", "gpt_neox", "falcon", "gemma2", "opt", "mamba")


def _blame(
    child: Decoder, parent: Decoder, layer: Layer, bits: float = 16, *, downstream: bool = False
) -> Blame:
    """What an exchange does further on takes as long as the rest, and blames nobody."""
    return blame(child, parent, layer, IDS, bits=bits, downstream=downstream)


def _scale(decoder: Decoder, part: Part, factor: float) -> None:
    for name, one in part.of(decoder).named_parameters(recurse=False):
        turned = type(part.of(decoder)).__name__ == "Conv1D" and name == "weight"
        rows = one.data.T if turned else one.data
        if part.outputs is None:
            rows.mul_(factor)
        else:
            rows[part.outputs] *= factor


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
def test_every_part_of_a_block_can_be_blamed(family: str) -> None:
    """Each one that is scaled, and no other; what is left without it is nothing."""
    parent = tiny_decoder(family)
    named, expected = [], []
    for part in parts_of(parent):
        if part.site != "layer02":
            continue
        child = tiny_decoder(family)
        _scale(child, part, 1.5)
        found = _blame(child, parent, 2)
        if found.error > 1e-6:  # a softmax does not see the bias of keys
            expected.append(part.name)
            named.append(found.culprit)
    assert len(expected) >= 5
    assert expected == named


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
def test_the_parents_own_part_does_nothing(family: str) -> None:
    """Exactly nothing, not nearly; and a child with every part of the parent is the parent."""
    child = round_weights(tiny_decoder(family), 3, group=8)
    found = _blame(child, tiny_decoder(family), 1, bits=3)
    assert (0.0, True) == (found.control, found.error > 0)
    assert found.left < 1e-6


def test_a_part_is_taken_as_where_it_stands_in_the_other_model() -> None:
    """Against a parent whose own weights were replaced by hand."""
    parent, child = tiny_decoder("llama"), round_weights(tiny_decoder("llama"), 3, group=8)
    found = {one.name: one for one in _blame(child, parent, 2, bits=3).parts}
    by_hand = tiny_decoder("llama")
    weight = child.parts.blocks[1].mlp.up_proj.weight
    by_hand.parts.blocks[1].mlp.up_proj.weight.copy_(weight)
    alone = _blame(by_hand, parent, 2, bits=3)
    assert alone.error == pytest.approx(found["mlp.up_proj"].alone, rel=1e-5)
    restored = round_weights(tiny_decoder("llama"), 3, group=8)
    restored.parts.blocks[1].mlp.up_proj.weight.copy_(parent.parts.blocks[1].mlp.up_proj.weight)
    rest = _blame(restored, parent, 2, bits=3)
    assert rest.error == pytest.approx(found["mlp.up_proj"].restored, rel=1e-5)


def test_a_damaged_part_is_found_under_the_rounding_of_all_others() -> None:
    """A projection 1.5 times too large in a block of 4 bits; the others' rounding is explained."""
    parent = tiny_decoder("llama", hidden=64, layers=3)
    child = round_weights(tiny_decoder("llama", hidden=64, layers=3), 4)
    child.parts.blocks[1].self_attn.q_proj.weight.mul_(1.5)
    found = _blame(child, parent, 2, bits=4)
    assert "self_attn.q_proj" == found.culprit
    assert "layer02: self_attn.q_proj: alone in the parent it makes an error of" in found.words
    assert 0.0 == max(one.excess for one in found.parts[1:])


def test_another_function_is_no_weights_fault() -> None:
    """Another activation: the error is still there with every weight of the parent."""
    found = _blame(tiny_decoder("llama", hidden_act="gelu"), tiny_decoder("llama"), 1)
    assert "" == found.culprit
    assert found.left == found.error > 0
    assert "no weight's doing, but another configuration's" in found.words


@pytest.mark.parametrize(
    ("layer", "name", "change"),
    [
        (0, "embed_tokens", lambda one: one.parts.embeddings.weight.mul_(1.5)),
        ("norm", "norm", lambda one: one.parts.norm.weight.mul_(1.5)),
        ("norm", "lm_head", lambda one: one.model.lm_head.weight.neg_()),
    ],
)
def test_embeddings_final_norm_and_head_can_be_blamed(
    layer: Layer, name: str, change: Callable[[Decoder], object]
) -> None:
    """Each by its own name."""
    child = tiny_decoder("llama")
    change(child)
    found = _blame(child, tiny_decoder("llama"), layer, downstream=True)
    assert name == found.culprit
    assert found.parts[0].kl > 0


def test_a_part_that_is_not_finite_comes_first() -> None:
    """And is blamed."""
    child = tiny_decoder("llama")
    child.parts.blocks[0].mlp.down_proj.weight[0, 0] = torch.nan
    found = _blame(child, tiny_decoder("llama"), 1)
    assert "mlp.down_proj" == found.culprit
    assert math.isnan(found.parts[0].alone)


def test_a_block_that_is_not_finite_at_all_is_blamed_on_a_part_of_it() -> None:
    """Whatever part comes first."""
    found = _blame(plant_nan(tiny_decoder("llama"), 2), tiny_decoder("llama"), 2)
    assert found.culprit
    assert math.isnan(found.error)


@pytest.mark.parametrize("layer", [0, 1, "norm"])
def test_where_nothing_errs_nobody_is_blamed(layer: Layer) -> None:
    """A model that is its parent."""
    found = _blame(tiny_decoder("llama"), tiny_decoder("llama"), layer)
    assert "" == found.culprit
    assert found.words.endswith("no error: nothing is to blame")


def test_a_long_prompt_among_short_ones_is_padded_to_a_bounded_batch() -> None:
    """Logits of a large vocabulary are held for every place of the batch."""
    prompts = [[1] * 40, *([at % 60] for at in range(24))]
    found = blame(tiny_decoder("llama"), tiny_decoder("llama"), 1, prompts, bits=16, most_tokens=64)
    assert 40 + 5 == found.tokens


@pytest.mark.parametrize("layer", [0, 1, "norm"])
def test_a_child_of_another_dtype_is_blamed_as_well(layer: Layer) -> None:
    """Parts of 16 bits and of 32 are exchanged."""
    child = tiny_decoder("gpt2", dtype=torch.bfloat16)
    found = _blame(child, tiny_decoder("gpt2"), layer)
    assert 0 < found.error < 0.05
    assert found.left <= 2 * found.error  # arithmetic of 16 bits, whatever the weights are
    assert found.control == 0


def test_nobody_is_blamed_by_what_an_exchange_does_further_on() -> None:
    """Without it the same part is blamed, by the same numbers; the line leaves it out."""
    child, parent = tiny_decoder("llama"), tiny_decoder("llama")
    child.parts.blocks[1].mlp.up_proj.weight.mul_(1.5)
    whole = _blame(child, parent, 2, downstream=True)
    short = _blame(child, parent, 2)
    assert short.culprit == whole.culprit == "mlp.up_proj"
    assert short.parts == tuple(replace(one, drift=None, kl=None) for one in whole.parts)
    assert "KL" in whole.words
    assert "KL" not in short.words


def _folded(family: str) -> Decoder:
    """A model whose norms of the first block gave a factor to what reads them, as SmoothQuant does."""
    decoder = tiny_decoder(family)
    here = [part for part in parts_of(decoder) if part.site == "layer01"]
    # Of a norm that attention and MLP both read, the group of both comes first.
    groups = {group.before.role: group for group in reversed(list(groups_of(here)))}
    for role in ("attention norm", "mlp norm"):
        if (group := groups.get(role)) is None:
            continue
        gains = [one.data for one in group.before.of(decoder).parameters()]
        factor = torch.linspace(0.4, 2.5, len(gains[0]))
        for gain in gains:
            gain.div_(factor)
        for module in {part.of(decoder) for part in group.after}:
            module.get_parameter("weight").data.mul_(factor)
    return decoder


@pytest.mark.parametrize("family", mostly_slow(["llama", "phi3", "falcon"], "llama"))
def test_a_damaged_part_beside_moved_factors_is_blamed(family: str) -> None:
    """The norm that has another gain, whose factor the next parts take back, is not."""
    parent = tiny_decoder(family)
    sound = _blame(_folded(family), parent, 1)
    assert sound.error < 1e-5
    named, expected = [], []
    for part in parts_of(parent):
        if part.site != "layer01" or part.role not in {"q", "v", "o", "gate", "up", "down"}:
            continue
        child = round_weights(_folded(family), 8, group=8)
        _scale(child, part, 1.5)
        found = _blame(child, parent, 1, bits=8)
        expected.append((part.name, 0.0, True))
        named.append((found.culprit, found.control, found.left < 1e-5))
    assert len(expected) >= 5
    assert expected == named
