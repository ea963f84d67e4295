"""Fresh draws of every parameter: none forgotten, none drawn twice, nothing else touched."""

import pytest
import torch
from torch import nn

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.models.redraw import redraw
from pytest_injectivity.testing import tiny_decoder
from tests.repetitions import SOME_FAMILIES, mostly_slow


def _redrawn(decoder: Decoder, seed: int = 0, times: int = 1) -> Decoder:
    copy = decoder.as_float64()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(times):
        redraw(copy, generator)
    return copy


@pytest.mark.parametrize("family", TABLE)
def test_no_tensor_keeps_a_value_or_is_constant(family: str) -> None:
    """Biases and norm gains too: every entry of every parameter is another number."""
    decoder = tiny_decoder(family)
    before = {name: p.double() for name, p in decoder.model.named_parameters()}
    assert before
    for name, parameter in _redrawn(decoder).model.named_parameters():
        assert not (parameter == before[name]).any(), name
        assert parameter.unique().numel() == parameter.numel(), name


@pytest.mark.parametrize("family", TABLE)
def test_buffers_stay_and_the_decoder_too(family: str) -> None:
    """Rotary tables belong to the architecture; what was audited is audited again."""
    decoder = tiny_decoder(family)
    parameters = {name: p.clone() for name, p in decoder.model.named_parameters()}
    buffers = dict(decoder.as_float64().model.named_buffers())
    assert parameters
    for name, buffer in _redrawn(decoder).model.named_buffers():
        assert buffer.equal(buffers[name]), name
    for name, parameter in decoder.model.named_parameters():
        assert parameter.equal(parameters[name]), name


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_stay_tied(*, tied: bool) -> None:
    """The head shares the embedding's draw where it shared its weights."""
    model = _redrawn(tiny_decoder("llama", tie_word_embeddings=tied)).model
    assert tied == model.lm_head.weight.equal(model.model.embed_tokens.weight)


@pytest.mark.parametrize("family", mostly_slow(TABLE, *SOME_FAMILIES))
def test_activations_neither_vanish_nor_explode(family: str) -> None:
    """At every layer of a deep stack, after 5 or 200 tokens, coordinates are near the size of one."""
    decoder = _redrawn(tiny_decoder(family, layers=12, context=256))
    ids = torch.randint(64, (1, 200), generator=torch.Generator().manual_seed(0))
    assert 13 == len(decoder.layers)
    for states in decoder.states(ids, decoder.layers).values():
        size = states[0, [4, 199]].square().mean(dim=1).sqrt()
        assert bool(((size > 1e-2) & (size < 1e4)).all()), size


@pytest.mark.parametrize("family", TABLE)
def test_what_came_long_ago_is_not_forgotten(family: str) -> None:
    """The token 200 places back moves the state far more than rounding does, windows apart."""
    settings = {"mistral": {"sliding_window": 256}, "phi3": {"sliding_window": 256}}
    decoder = _redrawn(tiny_decoder(family, context=256, **settings.get(family, {})))
    ids = torch.randint(64, (1, 200), generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    ids[1, 0] = (ids[0, 0] + 1) % 64
    one, other = decoder.states(ids, ["norm"])["norm"][:, -1]
    assert float((one - other).norm() / one.norm()) > 1e-6


def test_the_seed_decides_the_draws() -> None:
    """One seed, one draw; another seed, or the next draw of the same, is another."""
    decoder = tiny_decoder("gpt2")
    draws = [
        _redrawn(decoder, 0),
        _redrawn(decoder, 0),
        _redrawn(decoder, 1),
        _redrawn(decoder, 0, 2),
    ]
    first, again, other, second = (one.embedding_matrix() for one in draws)
    assert first.equal(again)
    assert not first.equal(other)
    assert not first.equal(second)


def test_packed_weights_are_refused() -> None:
    """Integers cannot be drawn from a density; the message names the parameter."""
    decoder = tiny_decoder("llama")
    packed = nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    decoder.parts.blocks[0].register_parameter("packed", packed)
    with pytest.raises(ModelError, match=r"parameter model\.layers\.0\.packed is torch\.uint8"):
        redraw(decoder, torch.Generator())
