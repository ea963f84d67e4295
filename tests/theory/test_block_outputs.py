"""Where the derivatives by weights start, on models whose graph is known."""

import pytest
import torch
from torch import Tensor

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import tiny_decoder
from pytest_injectivity.theory.block_outputs import BlockOutputs, Stage
from pytest_injectivity.theory.linearization import Linearization

PAIR = torch.tensor([[7, 1, 2, 5], [7, 3, 2, 5]])


@pytest.fixture
def decoder() -> Decoder:
    """Three blocks in float64, whose weights may change."""
    decoder = tiny_decoder("llama", hidden=16, layers=3).as_float64()
    decoder.parts.base.requires_grad_(requires_grad=True)
    return decoder


def _states(decoder: Decoder) -> tuple[Tensor, Tensor]:
    with torch.enable_grad(), decoder.running():
        rows = decoder.parts.embeddings(PAIR)
        first, second = decoder.states_from_embeddings(rows, ["norm"])["norm"][:, -1]
        return first, second


def _names(stage: Stage) -> set[str]:
    """The blocks of a stage, and what else it has."""
    return {".".join(name.split(".")[:2]) for name in stage.names}


def _stages(decoder: Decoder) -> list[Stage]:
    weights = dict(decoder.parts.base.named_parameters())
    outputs = BlockOutputs([*decoder.parts.blocks], weights)
    with outputs.recorded():
        first, second = _states(decoder)
    summed = first @ torch.linspace(1.0, 2.0, 16).double() + second.sum()
    slopes = torch.autograd.grad(summed, list(weights.values()), retain_graph=True)
    return outputs.stages(first - second, summed, dict(zip(weights, slopes, strict=True)))


def test_each_block_starts_at_its_own_output(decoder: Decoder) -> None:
    """The final norm above all of them, the embedding below."""
    assert list(map(_names, _stages(decoder))) == [
        {"norm.weight"},
        {"layers.2"},
        {"layers.1"},
        {"layers.0", "embed_tokens.weight"},
    ]


def test_a_weight_of_two_blocks_starts_at_the_upper_one(decoder: Decoder) -> None:
    """Its derivative by the output of the lower one is a part of it."""
    blocks = decoder.parts.blocks
    blocks[0].mlp.up_proj.weight = blocks[2].mlp.up_proj.weight
    shared = [[name for name in stage.names if "up_proj" in name] for stage in _stages(decoder)]
    assert shared == [
        [],
        ["layers.0.mlp.up_proj.weight"],
        ["layers.1.mlp.up_proj.weight"],
        [],
    ]


def test_a_weight_that_passes_a_block_by_starts_at_the_difference(decoder: Decoder) -> None:
    """The embedding is added to what comes out of the second block once more."""
    rows: list[Tensor] = []
    decoder.parts.blocks[0].register_forward_pre_hook(lambda _block, given: rows.append(given[0]))
    decoder.parts.blocks[1].register_forward_hook(lambda _block, _given, out: out + rows[-1])
    assert _names(_stages(decoder)[0]) == {"norm.weight", "embed_tokens.weight"}


def test_where_a_block_is_passed_by_all_start_at_the_difference(decoder: Decoder) -> None:
    """What the first block gives is added after the third once more."""
    given: list[Tensor] = []
    first, _, third = decoder.parts.blocks
    first.register_forward_hook(lambda _block, _given, out: given.append(out))
    third.register_forward_hook(lambda _block, _given, out: out + given[-1])
    assert len(_stages(decoder)) == 1


def test_a_block_is_passed_once_however_many_parts_stand_below_it(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the difference are asked for once, and then those of each block's output."""
    asked: list[int] = []
    grad = torch.autograd.grad

    def counted(outputs: list[Tensor], *given: object, **options: object) -> object:
        if options.get("is_grads_batched"):
            asked.append(id(outputs[0]))
        return grad(outputs, *given, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    weights = dict(decoder.parts.base.named_parameters())
    sweep = Linearization("all", decoder.parts.base, [*decoder.parts.blocks], weights, 2**18)
    with sweep.recorded():
        states = _states(decoder)
    assert sweep.of(states, weights, {}).moved
    assert asked.count(asked[0]) == 1
    assert len(set(asked)) == 4
