"""Checkpoints with tensors that nothing takes, and parameters that nothing fills."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_injectivity.core.tower_names import TOWERS
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

IDS = torch.arange(20)[None]
ATTENTION = "model.layers.0.self_attn."


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tiny_decoder("llama"), tmp_path_factory.mktemp("llama") / "whole")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    made.mkdir()
    for path in whole.iterdir():
        (made / path.name).write_bytes(path.read_bytes())
    return made


def add(folder: Path, **tensors: Tensor) -> None:
    """Adds tensors to a checkpoint, or replaces them."""
    held = load_file(folder / "model.safetensors")
    save_file({**held, **tensors}, folder / "model.safetensors", metadata={"format": "pt"})


def configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


LEFT_OVER = {
    "a bias that the configuration denies": f"{ATTENTION}q_proj.bias",
    "an adapter that was not merged": f"{ATTENTION}q_proj.lora_A.default.weight",
    "the other half of an adapter": f"{ATTENTION}q_proj.lora_B.default.weight",
    "a magnitude of DoRA": f"{ATTENTION}q_proj.lora_magnitude_vector",
    "a scale": f"{ATTENTION}q_proj.weight_scale",
    "a global scale": f"{ATTENTION}q_proj.weight_global_scale",
    "a scale of activations": f"{ATTENTION}q_proj.input_scale",
    "a scale of cached keys": f"{ATTENTION}k_scale",
    "a zero point": f"{ATTENTION}q_proj.weight_zero_point",
    "zeros": f"{ATTENTION}q_proj.qzeros",
    "an order of inputs": f"{ATTENTION}q_proj.g_idx",
    "a scale of smoothing": f"{ATTENTION}q_proj.pre_quant_scale",
    "scales of MLX": f"{ATTENTION}q_proj.scales",
    "biases of MLX": f"{ATTENTION}q_proj.biases",
    "a norm that the family lacks": f"{ATTENTION}q_norm.weight",
    "a bias of a norm": "model.norm.bias",
    "a bias of the head": "lm_head.bias",
    "a table of positions": "model.embed_positions.weight",
    "rotary factors": "rope_freqs.weight",
    "something else": "model.extra",
}


@pytest.mark.parametrize("name", LEFT_OVER.values(), ids=list(LEFT_OVER))
def test_a_tensor_that_nothing_takes_is_refused_by_name(name: str, folder: Path) -> None:
    """What another engine would use, and this one would drop, makes another model."""
    add(folder, **{name: torch.ones(16)})
    with pytest.raises(ModelError, match=rf"no parameter of the model takes: {name} \(1 in all\)"):
        load_decoder(str(folder), device="cpu")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    words=st.lists(st.from_regex(r"[a-z]{3,8}", fullmatch=True), min_size=1, max_size=3),
    shape=st.lists(st.integers(1, 3), max_size=3),
)
def test_no_name_and_no_shape_hides_a_tensor(
    words: list[str], shape: list[int], whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any tensor under a block's name that is none of the block's parameters is refused."""
    folder = tmp_path_factory.mktemp("any")
    for path in whole.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    name = ".".join(["model.layers.1", *words])
    add(folder, **{name: torch.zeros(shape)})
    with pytest.raises(ModelError, match="no parameter of the model takes"):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int16, torch.bool])
def test_no_integer_matrix_becomes_a_parameter(dtype: torch.dtype, folder: Path) -> None:
    """Codes are no numbers: a file in full precision holds none."""
    name = f"{ATTENTION}q_proj.weight"
    add(folder, **{name: torch.ones(16, 16).to(dtype)})
    with pytest.raises(ModelError, match=rf"holds quantized weights \({name}\)"):
        load_decoder(str(folder), device="cpu")


def _inverse(length: int, base: float = 10000.0) -> Tensor:
    return 1.0 / base ** (torch.arange(0, length, 2).float() / length)


HARMLESS: dict[str, tuple[str, Tensor]] = {
    "rotary table": ("model.layers.0.self_attn.rotary_emb.inv_freq", _inverse(4)),
    "rotary table in bfloat16": (
        "model.layers.1.self_attn.rotary_emb.inv_freq",
        _inverse(4).bfloat16(),
    ),
    "positions": ("model.position_ids", torch.arange(64)[None]),
    "vision tower": ("vision_tower.blocks.0.weight", torch.ones(2, 2)),
    "multi-token prediction": ("mtp.layers.0.mlp.weight", torch.ones(2, 2)),
    "head of values": ("v_head.summary.weight", torch.ones(1, 16)),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_is_known_to_be_harmless_is_let_be(kind: str, folder: Path) -> None:
    """The states are those of the checkpoint without it."""
    expected = load_decoder(str(folder), device="cpu").states(IDS, ["norm"])["norm"]
    name, tensor = HARMLESS[kind]
    add(folder, **{name: tensor})
    assert expected.equal(load_decoder(str(folder), device="cpu").states(IDS, ["norm"])["norm"])


NOT_SO: dict[str, tuple[str, Tensor, str]] = {
    "scaled rotary table": (
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        _inverse(4) / 4,
        "other rotary frequencies",
    ),
    "rotary table of another length": (
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        _inverse(8),
        "other rotary frequencies",
    ),
    "shifted positions": ("model.position_ids", torch.arange(64)[None] + 1, "not 0, 1, 2"),
}


@pytest.mark.parametrize("kind", NOT_SO)
def test_a_harmless_name_does_not_excuse_other_values(kind: str, folder: Path) -> None:
    """A table of rotary factors that the model does not compute is part of another model."""
    name, tensor, message = NOT_SO[kind]
    add(folder, **{name: tensor})
    with pytest.raises(ModelError, match=rf"{name} \(1 in all\): .*{message}"):
        load_decoder(str(folder), device="cpu")


CAUSAL = torch.ones(64, 64).tril()[None, None]


@pytest.mark.parametrize(
    "mask",
    [CAUSAL.to(torch.uint8), CAUSAL.bool(), CAUSAL],
    ids=["bytes", "truth values", "numbers"],
)
def test_a_causal_mask_of_gpt2_is_let_be(mask: Tensor, tmp_path: Path) -> None:
    """Older versions of the library saved it, and the library hides it from its report."""
    folder = save_checkpoint(tiny_decoder("gpt2"), tmp_path / "gpt2")
    add(folder, **{"transformer.h.0.attn.bias": mask})
    assert 2 == load_decoder(str(folder), device="cpu").n_layers


@pytest.mark.parametrize(
    "mask", [torch.ones(64, 64).to(torch.uint8)[None, None], torch.ones(64)], ids=["all", "vector"]
)
def test_another_mask_is_another_model(mask: Tensor, tmp_path: Path) -> None:
    """Tokens that see what follows them, or a vector under the mask's name."""
    folder = save_checkpoint(tiny_decoder("gpt2"), tmp_path / "gpt2")
    add(folder, **{"transformer.h.0.attn.bias": mask})
    with pytest.raises(ModelError, match="it is no causal mask"):
        load_decoder(str(folder), device="cpu")


def test_a_masked_bias_of_gpt2_hides(tmp_path: Path) -> None:
    """The number that older versions added to hidden scores is large and negative."""
    folder = save_checkpoint(tiny_decoder("gpt2"), tmp_path / "gpt2")
    add(folder, **{"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)})
    assert 2 == load_decoder(str(folder), device="cpu").n_layers
    add(folder, **{"transformer.h.0.attn.masked_bias": torch.tensor(0.5)})
    with pytest.raises(ModelError, match="it hides nothing"):
        load_decoder(str(folder), device="cpu")


EMBEDDING = {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}


@pytest.mark.parametrize("family", EMBEDDING)
def test_two_equal_copies_of_a_tied_matrix_are_let_be(family: str, tmp_path: Path) -> None:
    """Head and embedding that are one matrix by the configuration are one in the file."""
    folder = save_checkpoint(tiny_decoder(family, tie_word_embeddings=True), tmp_path / family)
    rows = load_file(folder / "model.safetensors")[EMBEDDING[family]].clone()
    add(folder, **{"lm_head.weight": rows})
    assert 2 == load_decoder(str(folder), device="cpu").n_layers


@pytest.mark.parametrize("family", EMBEDDING)
def test_two_different_copies_of_a_tied_matrix_are_refused(family: str, tmp_path: Path) -> None:
    """By one number in its last place; the library would untie them without a word."""
    folder = save_checkpoint(tiny_decoder(family, tie_word_embeddings=True), tmp_path / family)
    rows = load_file(folder / "model.safetensors")[EMBEDDING[family]].clone()
    rows[5, 3] = torch.nextafter(rows[5, 3], torch.tensor(9.0))
    add(folder, **{"lm_head.weight": rows})
    message = rf"ties lm_head\.weight to {EMBEDDING[family]}, .* different"
    with pytest.raises(ModelError, match=message):
        load_decoder(str(folder), device="cpu")


def _without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {one: tensor for one, tensor in tensors.items() if one != name}


@pytest.mark.parametrize(
    "name",
    ["model.norm.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"],
)
def test_a_parameter_without_a_tensor_is_refused_by_name(name: str, folder: Path) -> None:
    """It would be left at random."""
    held = _without(name)(load_file(folder / "model.safetensors"))
    configure(folder, tie_word_embeddings=False)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"no weights for {name}"):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "model.visual.blocks.0.attn.weight",
        "model.vision_tower.x",
        "vision_model.x",
        "audio_tower.layers.0.x",
        "multi_modal_projector.linear.weight",
        "model.mtp.layers.0.x",
    ],
)
def test_towers_are_known_by_the_beginning_of_their_names(name: str) -> None:
    """With the base model's prefix or without."""
    assert TOWERS.match(name)


@pytest.mark.parametrize(
    "name", ["model.layers.0.visual.weight", "mtpx.weight", "model.connectors.weight"]
)
def test_what_stands_in_a_block_is_no_tower(name: str) -> None:
    """Nor is what has a longer name."""
    assert not TOWERS.match(name)
