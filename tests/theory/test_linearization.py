"""Products of a Jacobian that is never held, against one that is."""

import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import tiny_decoder
from pytest_injectivity.theory.linearization import Linearization

PAIR = torch.tensor([[7, 1, 2, 5], [7, 3, 2, 5]])
HELD = 2**20


@pytest.fixture(params=["gpt2", "llama", "falcon"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    """A tiny model in float64, whose weights may change."""
    decoder = tiny_decoder(request.param, hidden=16).as_float64()
    decoder.parts.base.requires_grad_(requires_grad=True)
    return decoder


def _states(decoder: Decoder, layer: Layer) -> tuple[Tensor, Tensor]:
    with torch.enable_grad(), decoder.running():
        rows = decoder.parts.embeddings(PAIR)
        first, second = decoder.states_from_embeddings(rows, [layer])[layer][:, -1]
        return first, second


@pytest.mark.parametrize("layer", [1, 2, "norm"])
@pytest.mark.parametrize("held", [2**17, HELD])
def test_products_are_those_of_the_whole_jacobian(
    decoder: Decoder, layer: Layer, held: int
) -> None:
    """Of linear layers, embeddings, norms and biases, in one part or in many."""
    weights = dict(decoder.parts.base.named_parameters())
    first, second = _states(decoder, layer)
    slopes = [
        torch.autograd.grad(one, list(weights.values()), retain_graph=True, allow_unused=True)
        for one in first - second
    ]
    jacobian = torch.stack(
        [
            torch.cat(
                [
                    (torch.zeros_like(weight) if one is None else one).flatten()
                    for weight, one in zip(weights.values(), row, strict=True)
                ]
            )
            for row in slopes
        ]
    )
    draw = torch.Generator().manual_seed(0)
    change, rounding = (
        {
            name: torch.randn(one.shape, generator=draw, dtype=one.dtype)
            for name, one in weights.items()
        }
        for _ in range(2)
    )
    linearization = Linearization("all", decoder.parts.base, [*decoder.parts.blocks], weights, held)
    with linearization.recorded():
        states = _states(decoder, layer)
    found = linearization.of(states, change, {"other": rounding})
    along = jacobian @ torch.cat([one.flatten() for one in rounding.values()])
    expected = jacobian @ torch.cat([one.flatten() for one in change.values()])
    assert torch.allclose(found.gram, jacobian @ jacobian.T, rtol=1e-9, atol=1e-9)
    assert torch.allclose(found.along_change, expected, rtol=1e-9, atol=1e-9)
    projected = float((along @ torch.linalg.pinv(found.gram, rtol=1e-13) @ along).sqrt())
    assert projected == pytest.approx(found.projected("other"), rel=1e-6)


def test_of_a_linear_layer_factors_are_held(decoder: Decoder) -> None:
    """Eight tokens, of a matrix with 16 inputs: half of its columns' bytes."""
    own = {
        name: one
        for name, one in decoder.parts.base.named_parameters()
        if name.startswith(("h.0", "layers.0"))
    }
    held = 8 * 16 * max(one.numel() for one in own.values()) // 2
    linearization = Linearization("layer01", decoder.parts.base, [*decoder.parts.blocks], own, held)
    with linearization.recorded():
        states = _states(decoder, 2)
    assert linearization.of(states, own, {}).moved


def test_derivatives_that_are_too_many_are_refused(decoder: Decoder) -> None:
    """The message says of what, and how much they are."""
    weights = dict(decoder.parts.base.named_parameters())
    linearization = Linearization("all", decoder.parts.base, [*decoder.parts.blocks], weights, 64)
    with linearization.recorded():
        states = _states(decoder, 1)
    with pytest.raises(OptionError, match="over='all': the derivatives of 16 coordinates by "):
        linearization.of(states, weights, {})


def test_at_a_collision_factors_are_held_still() -> None:
    """Both prompts have the same rows: what each adds to a derivative cancels but for rounding."""
    decoder = tiny_decoder("llama", hidden=16).as_float64()
    decoder.parts.base.requires_grad_(requires_grad=True)
    rows = decoder.parts.embeddings.weight.data
    rows[3] = rows[1] + 1e-14 * rows[4]
    own = dict(decoder.parts.blocks[0].mlp.named_parameters())
    held = 8 * 16 * max(one.numel() for one in own.values()) - 1
    linearization = Linearization("all", decoder.parts.base, [*decoder.parts.blocks], own, held)
    with linearization.recorded():
        states = _states(decoder, 2)
    assert linearization.of(states, own, {}).moved
