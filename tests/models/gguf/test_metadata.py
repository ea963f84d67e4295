"""Entries of a file's metadata, and tensors, that the library drops."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.gguf.metadata import RULES
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import tiny_decoder
from tests.gguf_files import ARCHITECTURES, Value, write_gguf

IDS = torch.randint(64, (2, 24), generator=torch.Generator().manual_seed(0))


# llama.cpp knows which layers of a gemma3 have windows: all but each sixth.
SETTINGS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "layers": 6,
        "layer_types": [*["sliding_attention"] * 5, "full_attention"],
    }
}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_file_of_a_family_is_its_parent(family: str, tmp_path: Path) -> None:
    """Windows, soft-capping, scales and bases of the file are those of the decoder, bit for bit."""
    parent = tiny_decoder(family, **SETTINGS.get(family, {}))
    decoder = load_decoder(str(write_gguf(parent, tmp_path / "model.gguf")), device="cpu")
    expected = parent.states(IDS, [0, *parent.layers])
    found = decoder.states(IDS, [0, *parent.layers])
    assert list(expected) == list(found)
    for layer, states in expected.items():
        torch.testing.assert_close(found[layer], states, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("gemma2", "attn_logit_softcapping", 20.0),
        ("gemma2", "final_logit_softcapping", 10.0),
        ("gemma2", "attention.sliding_window", 6),
        ("phi3", "attention.sliding_window", 6),
    ],
)
def test_an_entry_is_applied(family: str, name: str, value: Value, tmp_path: Path) -> None:
    """The configuration says what the file says."""
    path = write_gguf(tiny_decoder(family), tmp_path / "model.gguf", entries={name: value})
    config = load_decoder(str(path), device="cpu").model.config
    assert value == getattr(config, name.removeprefix("attention."))


REFUSED: dict[str, tuple[str, dict[str, Value]]] = {
    "soft-capping that a family lacks": ("llama", {"attn_logit_softcapping": 30.0}),
    "soft-capping of logits that a family lacks": ("qwen3", {"final_logit_softcapping": 30.0}),
    "a window that a family lacks": ("llama", {"attention.sliding_window": 8}),
    "a scale of attention": ("llama", {"attention.scale": 0.1}),
    "heads whose keys have another width": ("llama", {"attention.value_length": 8}),
    "windows in other layers": (
        "gemma2",
        {"attention.sliding_window_pattern": [False, True]},
    ),
    "rotation of a part of a head": ("qwen3", {"rope.dimension_count": 2}),
    "rotation of a part of a head of a llama": ("llama", {"rope.dimension_count": 2}),
    "a scale of logits": ("llama", {"logit_scale": 0.5}),
    "a scale of embeddings": ("llama", {"embedding_scale": 12.0}),
    "a scale of the residual": ("llama", {"residual_scale": 0.5}),
    "clamped queries": ("llama", {"attention.clamp_kqv": 8.0}),
    "attention that is not causal": ("llama", {"attention.causal": False}),
    "experts": ("llama", {"expert_count": 8}),
    "blocks for multi-token prediction": ("llama", {"nextn_predict_layers": 1}),
    "a base for windows": ("llama", {"rope.freq_base_swa": 5000.0}),
    "rows in an order that nothing undoes": ("llama", {"tensor_data_layout": "jploski"}),
    "something new": ("llama", {"attention.surprise": 3}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_entry_that_cannot_be_said_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    """The library drops it, and the model would be another one."""
    family, entries = REFUSED[kind]
    (name,) = entries
    path = write_gguf(tiny_decoder(family), tmp_path / "model.gguf", entries=entries)
    with pytest.raises(ModelError, match=rf"{ARCHITECTURES[family]}\.{name} is "):
        load_decoder(str(path), device="cpu")


@pytest.mark.parametrize(
    "entries",
    [
        {"attn_logit_softcapping": 0.0},
        {"attention.sliding_window": 0},
        {"attention.sliding_window": 64},
        {"attention.scale": 0.5},
        {"expert_count": 0},
        {"attention.causal": True},
        {"tensor_data_layout": "Meta AI original pth"},
        {"general.name": "a name"},
    ],
    ids=str,
)
def test_an_entry_that_changes_nothing_is_let_be(entries: dict[str, Value], tmp_path: Path) -> None:
    """Its value is what the model does anyway."""
    parent = tiny_decoder("llama")
    path = write_gguf(parent, tmp_path / "model.gguf", entries=entries)
    found = load_decoder(str(path), device="cpu").states(IDS, ["norm"])["norm"]
    assert parent.states(IDS, ["norm"])["norm"].equal(found)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"general.type": "adapter"}, "holds 'adapter'"),
        ({"general.type": "mmproj"}, "holds 'mmproj'"),
        ({"split.count": 3}, "one of 3 files"),
    ],
)
def test_a_file_that_is_no_whole_model_is_refused(
    entries: dict[str, Value], message: str, tmp_path: Path
) -> None:
    """An adapter, a projector, or a part of a model."""
    path = write_gguf(tiny_decoder("llama"), tmp_path / "model.gguf", entries=entries)
    with pytest.raises(ModelError, match=message):
        load_decoder(str(path), device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "blk.0.attn_q.bias",
        "blk.1.attn_q.scale",
        "blk.0.attn_q_norm.weight",
        "blk.0.ffn_gate_exps.weight",
        "blk.7.attn_norm.weight",
        "token_types.weight",
        "position_embd.weight",
        "output.bias",
        "extra",
    ],
)
def test_a_tensor_that_nothing_takes_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """The library drops it without a word."""
    path = write_gguf(
        tiny_decoder("llama"), tmp_path / "model.gguf", tensors={name: np.ones(16, np.float32)}
    )
    with pytest.raises(ModelError, match=rf"no parameter of the model takes: {name} \(1 in all\)"):
        load_decoder(str(path), device="cpu")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"block_count": 10**9}, "num_hidden_layers 1000000000 is not accepted"),
        ({"block_count": 9000}, "names 9000 blocks, and its files hold weights for 2"),
        ({"block_count": 3}, "names 3 blocks, and its files hold weights for 2"),
        ({"expert_count": 10**9}, "num_experts 1000000000 is not accepted"),
        ({"vocab_size": 10**9}, "describes .* parameters, and its files hold"),
        ({"embedding_length": 10**8}, "describes .* parameters, and its files hold"),
        ({"feed_forward_length": 10**9}, "describes .* parameters, and its files hold"),
        ({"vocab_size": 65}, "weights of another shape for"),
        ({"block_count": 1}, r"no parameter of the model takes: blk\.1\."),
    ],
    ids=str,
)
def test_sizes_that_the_file_does_not_have_are_refused_at_once(
    entries: dict[str, Value], message: str, tmp_path: Path
) -> None:
    """The header is compared with the metadata before anything is built."""
    path = write_gguf(tiny_decoder("llama"), tmp_path / "model.gguf", entries=entries)
    began = time.monotonic()
    with pytest.raises(ModelError, match=message):
        load_decoder(str(path), device="cpu")
    assert time.monotonic() - began < 10


def test_two_different_heads_of_a_tied_model_are_refused(tmp_path: Path) -> None:
    """A file that brings a head of its own is a model with one, for llama.cpp and here."""
    parent = tiny_decoder("llama", tie_word_embeddings=True)
    rows = parent.parts.embeddings.weight.numpy() + 1
    path = write_gguf(parent, tmp_path / "model.gguf", tensors={"output.weight": rows})
    decoder = load_decoder(str(path), device="cpu")
    head: torch.Tensor = decoder.model.get_output_embeddings().weight
    assert head.equal(torch.from_numpy(rows))


def test_integers_are_no_weights(tmp_path: Path) -> None:
    """A tensor of integers fills no parameter."""
    rows = np.ones(16, np.float32)
    path = write_gguf(tiny_decoder("llama"), tmp_path / "model.gguf")
    data = path.read_bytes().replace(b"output_norm.weight", b"output_norm.weight", 1)
    at = data.index(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8
    assert 0 == int.from_bytes(data[at : at + 4], "little")
    path.write_bytes(data[:at] + (26).to_bytes(4, "little") + data[at + 4 :])
    assert len(rows)
    with pytest.raises(ModelError, match="type I32 holds integers"):
        load_decoder(str(path), device="cpu")


def test_every_rule_is_of_a_name() -> None:
    """The table is read by names that stand after the architecture's."""
    assert RULES
    assert not [name for name in RULES if name.startswith(("general.", "tokenizer."))]
