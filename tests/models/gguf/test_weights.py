"""Architectures that transformers loads by its newer way, and names of tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.gguf.weights import parameter_names
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.quantization.gguf_header import read_gguf_header
from pytest_injectivity.testing import tiny_decoder
from tests.gguf_files import ARCHITECTURES, write_gguf

gguf = pytest.importorskip("gguf")
pytest.importorskip("transformers.integrations.gguf.gguf_config_mapping")

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.embedding_norm": "token_embd_norm",
    "model.layers": "blk",
    "operator_norm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w3": "ffn_up",
    "feed_forward.w2": "ffn_down",
    "conv.conv": "shortconv.conv",
    "conv.in_proj": "shortconv.in_proj",
    "conv.out_proj": "shortconv.out_proj",
}


def _lfm2() -> Decoder:
    """A small model of short convolutions and attention."""
    made: Any = AutoModelForCausalLM.from_config
    config = AutoConfig.for_model(
        "lfm2",
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
        block_auto_adjust_ff_dim=False,
        conv_bias=False,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Decoder("tiny:lfm2", made(config))


def _file(decoder: Decoder, path: Path, **tensors: np.ndarray) -> Path:
    config: Any = decoder.model.config
    writer = gguf.GGUFWriter(path, "lfm2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_array("lfm2.attention.head_count_kv", [0, config.num_key_value_heads])
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_vocab_size(config.vocab_size)
    writer.add_uint32("lfm2.shortconv.l_cache", config.conv_L_cache)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{number}" for number in range(62)] + ["t", "1"])
    writer.add_token_merges(["t 1"])
    for name, parameter in decoder.model.named_parameters():
        rows = parameter.detach().numpy()
        rows = rows.squeeze(1) if ".conv.conv." in name else rows
        for ours, theirs in _NAMES.items():
            name = name.replace(ours, theirs)  # noqa: PLW2901 - renamed step by step
        writer.add_tensor(name, np.ascontiguousarray(rows))
    for name, rows in tensors.items():
        writer.add_tensor(name, rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_of_the_newer_way_is_its_parent(tmp_path: Path) -> None:
    """Metadata, tensors and tokenizer of an architecture that the library reads by a fast reader."""
    parent = _lfm2()
    decoder = load_decoder(str(_file(parent, tmp_path / "model.gguf")), device="cpu")
    ids = torch.arange(20)[None]
    expected = parent.states(ids, [1, 2, "norm"])
    for layer, states in decoder.states(ids, [1, 2, "norm"]).items():
        torch.testing.assert_close(states, expected[layer], rtol=0, atol=1e-6)
    assert 64 == decoder.tokenizer.vocab_size


@pytest.mark.parametrize("name", ["blk.0.attn_q.scale", "rope_freqs.weight", "extra"])
def test_a_left_over_tensor_of_the_newer_way_is_refused(name: str, tmp_path: Path) -> None:
    """The library reports it under the name that it would have had."""
    path = _file(_lfm2(), tmp_path / "model.gguf", **{name: np.full(4, 2, np.float32)})
    with pytest.raises(ModelError, match="no parameter of the model takes"):
        load_decoder(str(path), device="cpu")


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_tensor_has_the_parameter_that_the_library_gives_it(
    family: str, tmp_path: Path
) -> None:
    """The table of names is built once, and says what the library's own search says."""
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    decoder = tiny_decoder(family)
    header = read_gguf_header(write_gguf(decoder, tmp_path / "model.gguf"))
    processor: Any = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)
    asked: Any = get_gguf_hf_weights_map
    expected = asked(decoder.model, processor())
    found = parameter_names(header, decoder.model)
    assert set(header.tensors) == set(found)
    assert {name: expected[name] for name in found} == found
