"""Models that see, loaded as the text decoder inside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from pytest_injectivity.models.assumptions import assumptions
from pytest_injectivity.models.families import count_blocks
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.quiet import quiet
from scripts.families.small_models import small_config, small_model

ROW = torch.arange(5, 25)[None]
TOWERS = {
    "llava": ("model.vision_tower", "model.multi_modal_projector"),
    "qwen2_vl": ("model.visual",),
    "gemma3": ("model.vision_tower", "model.multi_modal_projector"),
}


def _saved(kind: str, folder: Path) -> tuple[Any, str]:
    """The library's own model of a kind, and the folder of its checkpoint."""
    model = small_model(small_config(kind))
    with quiet():
        model.save_pretrained(folder)
    return model, str(folder)


@pytest.mark.parametrize("kind", TOWERS)
def test_a_model_that_sees_has_the_states_of_its_text_decoder(
    kind: str, tmp_path: Path, relative: Callable[[Tensor, Tensor], float]
) -> None:
    """Loaded from a checkpoint without its towers, it computes what the whole model does."""
    model, folder = _saved(kind, tmp_path)
    with torch.no_grad():
        expected = model(input_ids=ROW, output_hidden_states=True)
    decoder = load_decoder(folder, device="cpu")
    found = decoder.states(ROW, [1, "norm"])
    assert relative(found[1], expected.hidden_states[1]) <= 1e-6
    assert relative(found["norm"], expected.hidden_states[-1]) <= 1e-6
    assert relative(decoder.next_token_logits(ROW[0]), expected.logits[0, -1]) <= 1e-6


@pytest.mark.parametrize("kind", TOWERS)
def test_towers_are_taken_off_and_named(kind: str, tmp_path: Path) -> None:
    """No parameter of theirs stays in memory; the line of assumptions says what was left out."""
    _, folder = _saved(kind, tmp_path)
    decoder = load_decoder(folder, device="cpu")
    names = [name for name, _ in decoder.model.named_parameters()]
    assert set(TOWERS[kind]) == set(decoder.left_out)
    assert names
    assert not any(name.startswith(TOWERS[kind]) for name in names)
    assert f"text decoder alone, without {TOWERS[kind][0]}" in assumptions(decoder).line


def test_towers_that_the_library_does_not_load_are_named(tmp_path: Path) -> None:
    """Of Qwen3.5 it builds the text decoder alone, and drops the tensors of the tower."""
    with quiet():
        whole: Any = AutoModelForImageTextToText
        whole.from_config(small_config("qwen3_5")).save_pretrained(tmp_path)
    decoder = load_decoder(str(tmp_path), device="cpu")
    assert ("model.visual",) == decoder.left_out == decoder.as_float64().left_out
    assert "without model.visual" in assumptions(decoder).line


def test_blocks_that_read_images_alone_are_no_layers() -> None:
    """Mllama skips them for text: layer 2 is the block after the one that was skipped."""
    config = small_config("mllama")
    assert [1] == list(config.get_text_config().cross_attention_layers)
    assert 2 == count_blocks(config)
