"""The float64 decoder against forward passes written out by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, silu, softmax

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.float64 import Float64Mode, float64_copy, release
from pytest_injectivity.testing import HEADS, KEY_VALUE_HEADS, tiny_decoder

TOLERANCE = 1e-12


def _weights(decoder: Decoder) -> dict[str, Tensor]:
    """The parameters of the float32 model, widened exactly."""
    return {name: p.detach().double() for name, p in decoder.model.named_parameters()}


def _heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(0, 1)  # (heads, length, width)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    length, width = query.shape[-2:]
    scores = query @ key.transpose(-1, -2) / math.sqrt(width)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = softmax(scores.masked_fill(future, -math.inf), dim=-1)
    return (weights @ value).transpose(0, 1).flatten(1)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def _rotated(x: Tensor, frequencies: Tensor) -> Tensor:
    """Each half of a head turned against the other by position times frequency."""
    angles = torch.arange(x.shape[-2]).double()[:, None] * frequencies.double()
    left, right = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


def _gpt2(decoder: Decoder, ids: Tensor) -> dict[Layer, Tensor]:
    w = _weights(decoder)
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: len(ids)]
    states = {0: x}
    for i in range(decoder.n_layers):
        p = {k.removeprefix(f"transformer.h.{i}."): v for k, v in w.items()}
        y = _layer_norm(x, p["ln_1.weight"], p["ln_1.bias"])
        qkv = (y @ p["attn.c_attn.weight"] + p["attn.c_attn.bias"]).chunk(3, dim=-1)
        mixed = _attention(*(_heads(part, HEADS) for part in qkv))
        x = x + mixed @ p["attn.c_proj.weight"] + p["attn.c_proj.bias"]
        y = _layer_norm(x, p["ln_2.weight"], p["ln_2.bias"])
        y = gelu(y @ p["mlp.c_fc.weight"] + p["mlp.c_fc.bias"], approximate="tanh")
        x = x + y @ p["mlp.c_proj.weight"] + p["mlp.c_proj.bias"]
        states[i + 1] = x
    w = {k.removeprefix("transformer."): v for k, v in w.items()}
    return {**states, "norm": _layer_norm(x, w["ln_f.weight"], w["ln_f.bias"])}


def _llama(decoder: Decoder, ids: Tensor) -> dict[Layer, Tensor]:
    """Llama, and Qwen3, which normalizes each query and key head before turning it."""
    config = decoder.model.config
    eps, frequencies = config.rms_norm_eps, decoder.parts.base.rotary_emb.inv_freq
    w = {k.removeprefix("model."): v for k, v in _weights(decoder).items()}
    x = w["embed_tokens.weight"][ids]
    states = {0: x}
    for i in range(decoder.n_layers):
        p = {k.removeprefix(f"layers.{i}."): v for k, v in w.items()}
        y = _rms_norm(x, p["input_layernorm.weight"], eps)
        query = _heads(y @ p["self_attn.q_proj.weight"].T, HEADS)
        key = _heads(y @ p["self_attn.k_proj.weight"].T, KEY_VALUE_HEADS)
        value = _heads(y @ p["self_attn.v_proj.weight"].T, KEY_VALUE_HEADS)
        if "self_attn.q_norm.weight" in p:
            query = _rms_norm(query, p["self_attn.q_norm.weight"], eps)
            key = _rms_norm(key, p["self_attn.k_norm.weight"], eps)
        shared = HEADS // KEY_VALUE_HEADS
        key = _rotated(key, frequencies).repeat_interleave(shared, dim=0)
        mixed = _attention(_rotated(query, frequencies), key, value.repeat_interleave(shared, 0))
        x = x + mixed @ p["self_attn.o_proj.weight"].T
        y = _rms_norm(x, p["post_attention_layernorm.weight"], eps)
        gate = silu(y @ p["mlp.gate_proj.weight"].T)
        x = x + (gate * (y @ p["mlp.up_proj.weight"].T)) @ p["mlp.down_proj.weight"].T
        states[i + 1] = x
    return {**states, "norm": _rms_norm(x, w["norm.weight"], eps)}


BY_HAND = {"gpt2": _gpt2, "llama": _llama, "qwen3": _llama}


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("family", BY_HAND)
def test_states_equal_a_forward_pass_written_by_hand(family: str) -> None:
    """Every position of every layer is within 1e-12 of a float64 pass that casts nothing."""
    decoder = tiny_decoder(family, layers=3, hidden=32)
    ids = torch.randint(64, (40,), generator=torch.Generator().manual_seed(0))
    expected = BY_HAND[family](decoder, ids)
    found = decoder.as_float64().states(ids[None], list(expected))
    assert {1, 2, 3, "norm"} <= found.keys()
    for layer, states in expected.items():
        assert torch.float64 == found[layer].dtype
        assert _difference(found[layer][0], states) <= TOLERANCE


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_library_in_double_is_not_float64(family: str) -> None:
    """What the mode is for: the library's .double() is off by its float32 casts."""
    decoder = tiny_decoder(family, layers=3, hidden=32)
    ids = torch.randint(64, (40,), generator=torch.Generator().manual_seed(0))
    expected = BY_HAND[family](decoder, ids)["norm"]
    found = decoder.as_float64().model.model(ids[None]).last_hidden_state[0]
    assert _difference(found, expected) > 1e-8


@pytest.mark.parametrize("family", BY_HAND)
def test_a_prefix_and_a_batch_keep_float64(family: str) -> None:
    """Continuing a cached prefix, or standing in a batch, moves a state by 1e-12 at most."""
    decoder = tiny_decoder(family).as_float64()
    ids = torch.randint(64, (5, 30), generator=torch.Generator().manual_seed(0))
    ids[:, :20] = ids[0, :20]
    expected = {layer: s[0] for layer, s in decoder.states(ids[:1], [1, 2, "norm"]).items()}
    batch = decoder.states(ids, [1, 2, "norm"])
    continued = decoder.states(ids[:, 20:], [1, 2], prefix=decoder.prefix(ids[0, :20], 2))
    embedded = decoder.states_from_embeddings(decoder.embedding_matrix()[ids], [1, 2])
    for layer in (1, 2):
        assert _difference(batch[layer][0], expected[layer]) <= TOLERANCE
        assert _difference(continued[layer][0], expected[layer][20:]) <= TOLERANCE
        assert _difference(embedded[layer][0], expected[layer]) <= TOLERANCE


def test_the_copy_leaves_the_decoder_as_it_is() -> None:
    """The float32 decoder keeps its dtype and its states; the copy has float64 parameters."""
    decoder, ids = tiny_decoder("qwen3"), torch.arange(9)[None]
    before = decoder.states(ids, ["norm"])["norm"]
    copy = decoder.as_float64()
    assert {torch.float64} == {p.dtype for p in copy.model.parameters()}
    assert (torch.float64, torch.float32) == (copy.dtype, decoder.dtype)
    assert torch.float64 == copy.next_token_logits(ids[0]).dtype
    assert before.equal(decoder.states(ids, ["norm"])["norm"])
    assert copy.dtype == copy.as_float64().dtype


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_a_rounded_embedding_scale_stays_rounded(family: str) -> None:
    """In bfloat16 Gemma's scale is rounded (sqrt 24 = 4.899 is 4.906) and so it is in float64."""
    decoder = tiny_decoder(family, hidden=24, dtype=torch.bfloat16)
    rounded = torch.tensor(24**0.5).bfloat16().double()
    expected = decoder.parts.embeddings.weight.double() * rounded
    torch.testing.assert_close(
        decoder.as_float64().embedding_matrix(), expected, rtol=1e-12, atol=0
    )


def test_the_mode_widens_every_way_to_float32() -> None:
    """Methods, positional and keyword dtypes give float64 inside the mode and float32 outside."""
    x = torch.ones(2, dtype=torch.float64)

    def casts() -> tuple[Tensor, ...]:
        return (
            x.float(),
            x.to(torch.float32),
            x.to(dtype=torch.float32),
            x.type(torch.float32),
            softmax(x, dim=0, dtype=torch.float32),
            torch.zeros(2, dtype=torch.float32),
        )

    with Float64Mode():
        inside = casts()
    assert {torch.float64} == {y.dtype for y in inside}
    assert {torch.float32} == {y.dtype for y in casts()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_copy_shares_no_weight(dtype: torch.dtype) -> None:
    """What is drawn afresh in the copy leaves the model as it is; tied weights stay tied in it."""
    model = tiny_decoder("gpt2", dtype=dtype).model
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    copied = float64_copy(model)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.fill_(3.0)
    assert len(before) == len(dict(copied.named_parameters())) > 4
    assert {torch.float64} == {weight.dtype for weight in copied.parameters()}
    assert [True] * len(before) == [
        torch.equal(weight, before[name]) for name, weight in model.named_parameters()
    ]


def test_a_released_copy_holds_no_weights() -> None:
    """And the model that it was made of still computes what it did."""
    decoder = tiny_decoder("llama")
    ids = torch.tensor([[1, 2, 3]])
    before = decoder.states(ids, [2])[2]
    copied = decoder.as_float64()
    release(copied.model)
    sizes = [one.untyped_storage().nbytes() for one in copied.model.parameters()]
    assert sizes
    assert not any(sizes)
    assert torch.equal(before, decoder.states(ids, [2])[2])
