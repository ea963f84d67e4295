"""Children as people have broken them: each is red, with the cause in the verdict, or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

IDS = [[(3 * row + at * at) % 64 for at in range(5 + row % 9)] for row in range(24)]


def _parent() -> Decoder:
    return tiny_decoder("llama", layers=3, hidden=64, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent's folder, with prompts beside it."""
    root = tmp_path_factory.mktemp("broken")
    rows = "".join(json.dumps({"ids": ids}) + "\n" for ids in IDS)
    (root / "prompts.jsonl").write_text(rows)
    return save_checkpoint(_parent(), root / "parent")


def _audit(folder: Path, child: Path, **config: Any) -> Audit:
    return Audit(
        AuditConfig(
            model=str(child),
            reference=str(folder),
            prompts=str(folder.parent / "prompts.jsonl"),
            device="cpu",
            no_cache=True,
            **config,
        )
    )


def _changed(folder: Path, change: Callable[[Decoder], object], **config: Any) -> Audit:
    """A child made of the parent by a change of its weights."""
    child = _parent()
    change(child)
    made = folder.parent / f"child{len(list(folder.parent.iterdir()))}"
    return _audit(folder, save_checkpoint(child, made), **config)


def _configured(folder: Path, **values: Any) -> Audit:
    """A child of the parent's weights and another configuration, quantized to 8 bits."""
    made = folder.parent / f"child{len(list(folder.parent.iterdir()))}"
    shutil.copytree(folder, made)
    path = made / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return _audit(folder, made, quantization="torchao-int8")


def _lora(decoder: Decoder, times: int) -> None:
    """An adapter of rank 2 merged into a projection."""
    draw = torch.Generator().manual_seed(3)
    down, up = torch.randn(2, 64, generator=draw), torch.randn(64, 2, generator=draw)
    decoder.parts.blocks[1].self_attn.q_proj.weight.add_(times * 0.01 * (up @ down))


def test_a_wrong_scale_of_an_int8_child_is_its_tensors(folder: Path) -> None:
    """Its drift may lie within what 4 bits explain; its weights do not."""
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    audit = _changed(
        folder,
        lambda one: one.parts.blocks[1].self_attn.o_proj.weight.mul_(1.5),
        quantization="torchao-int8",
    )
    verdict = audit.check_weight_error_below()
    assert "FAIL weight_error_below layer02: self_attn.o_proj is 1.5 times the parent's" == (
        verdict.first_line
    )
    assert "blame: layer02: self_attn.o_proj: alone in the parent" in verdict.text
    assert not audit.check_block_error_below()


def test_an_adapter_that_was_merged_twice(tmp_path: Path) -> None:
    """Against the parent with the adapter merged once, in 8 bits."""
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    once, twice = _parent(), _parent()
    _lora(once, 1)
    _lora(twice, 2)
    rows = "".join(json.dumps({"ids": ids}) + "\n" for ids in IDS)
    (tmp_path / "prompts.jsonl").write_text(rows)
    parent = save_checkpoint(once, tmp_path / "parent")
    audit = _audit(parent, save_checkpoint(twice, tmp_path / "twice"), quantization="torchao-int8")
    verdict = audit.check_weight_error_below()
    assert "weight_error_below layer02: self_attn.q_proj" in verdict.first_line
    assert "blame: layer02: self_attn.q_proj" in verdict.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rms_norm_eps": 1e-2}, "rms_norm_eps"),
        pytest.param({"hidden_act": "gelu"}, "hidden_act", marks=pytest.mark.slow),
        pytest.param(
            {"max_position_embeddings": 32}, "max_position_embeddings", marks=pytest.mark.slow
        ),
    ],
)
def test_another_configuration_is_said_as_one(
    folder: Path, values: dict[str, Any], said: str
) -> None:
    """Before any number, in every verdict that is red, and by the check of its own."""
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    audit = _configured(folder, **values)
    function = audit.check_same_function()
    assert not function
    assert said in function.text
    drift = audit.check_state_drift_below(relative=1e-9)
    assert said in drift.text.splitlines()[1]


def test_another_activation_blames_no_weight(folder: Path) -> None:
    """Every block is another one, with every weight of the parent as well."""
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    audit = _configured(folder, hidden_act="gelu")
    verdict = audit.check_block_error_below(relative=1e-3)
    assert not verdict
    assert "no weight's doing, but another configuration's" in verdict.text


@pytest.mark.parametrize("change", [lambda head: head.neg_(), lambda head: head.fill_(torch.nan)])
def test_a_broken_head_is_red_at_the_head(
    folder: Path, change: Callable[[torch.Tensor], object]
) -> None:
    """By its weights, by what it makes of the parent's states, and by next tokens."""
    audit = _changed(folder, lambda one: change(one.model.lm_head.weight))
    weights, blocks = audit.check_weight_error_below(), audit.check_block_error_below()
    assert ["norm"] == [reason.where for reason in weights.failing]
    assert "lm_head is" in weights.first_line
    assert ["norm"] == [reason.where for reason in blocks.failing]
    assert "block error of the head" in blocks.first_line
    assert not audit.check_next_token_kept(kl=0.01)


@pytest.mark.parametrize("values", [{}, {"transformers_version": "4.0.0"}])
def test_an_unquantized_copy_is_nothing_to_compare(folder: Path, values: dict[str, Any]) -> None:
    """Whatever its configuration's bytes are."""
    made = folder.parent / f"copy{len(values)}"
    shutil.copytree(folder, made)
    path = made / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(OptionError, match="--injx-reference"):
        _audit(folder, made).check_weight_error_below()
