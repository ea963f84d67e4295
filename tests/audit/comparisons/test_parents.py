"""Which models may be compared as a parent and its child, and what the two share."""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_injectivity import Audit, AuditConfig, OptionError
from pytest_injectivity.models import loading
from pytest_injectivity.testing import (
    byte_tokenizer,
    save_checkpoint,
    tiny_decoder,
)
from tests.audit.comparisons.rounded import IDS, rounded
from tests.audits import audit_against, audit_of
from tests.gguf_files import write_gguf
from tests.quantized import configure


def test_without_a_reference_the_checks_say_what_to_give(tmp_path: Path) -> None:
    """Each of them."""
    audit = audit_of(tmp_path, tiny_decoder(), IDS)
    for check in (
        lambda: audit.check_state_drift_below(relative=0.35),
        audit.check_no_new_collisions,
        lambda: audit.check_margin_retained(fraction=0.5),
        lambda: audit.check_colipschitz_retained(fraction=0.5),
        lambda: audit.check_not_read_by_reference(1, 0.5),
        lambda: audit.comparison(1),
    ):
        with pytest.raises(OptionError, match="no reference is named: give --injx-reference"):
            check()
    assert () == audit.comparisons.compared


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 3}, "layers 2 and 3;"),
        ({"hidden": 24}, "hidden size 16 and 24;"),
        ({"vocab": 66}, "vocabulary 64 and 66, and without both tokenizers"),
        ({"layers": 1, "hidden": 8}, "layers 2 and 1, hidden size 16 and 8;"),
    ],
)
def test_a_parent_of_another_shape_is_refused(
    settings: dict[str, int], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the numbers, and before any weights are loaded."""
    audit = audit_against(tmp_path, tiny_decoder(), tiny_decoder(**settings), IDS)
    monkeypatch.setattr(loading, "load", None)
    with pytest.raises(OptionError, match=message):
        audit.check_state_drift_below(relative=0.35)


def test_the_very_same_model_is_refused(tmp_path: Path) -> None:
    """Also as a copy, or with its own dtype named; computed in another dtype it is another model."""
    decoder = tiny_decoder()
    for given in (
        {"reference": str(tmp_path / "model")},
        {},
        {"dtype": "float32"},
        {"reference": str(tmp_path / "model"), "dtype": "float32"},
    ):
        audit = audit_against(tmp_path, decoder, decoder, IDS, **given)
        with pytest.raises(OptionError, match="comparing a model with itself proves nothing"):
            audit.check_state_drift_below(relative=0.35)
    other = audit_against(tmp_path, decoder, decoder, IDS, dtype="bfloat16")
    (reason,) = other.check_state_drift_below(1, relative=0.35).reasons
    assert 0 < reason.value < 0.1


def _resharded(folder: Path) -> None:
    """Two files, their keys in another order."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors, reverse=True)
    weight_map = {}
    for at, some in enumerate((names[::2], names[1::2])):
        file = f"model-{at}.safetensors"
        save_file({name: tensors[name] for name in some}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(some, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _without_prefix(folder: Path) -> None:
    """Keys as the base model saves them."""
    path = folder / "model.safetensors"
    tensors = {name.removeprefix("model."): one for name, one in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


def _untied(folder: Path) -> None:
    """A head of its own with the numbers that it has."""
    configure(folder, tie_word_embeddings=False)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])
    save_file({**tensors, "lm_head.weight": head.clone()}, path, {"format": "pt"})


@pytest.mark.parametrize(
    "change",
    [
        _resharded,
        _untied,
        _without_prefix,
        lambda folder: configure(folder, initializer_range=0.5),
    ],
)
def test_a_copy_of_the_parent_is_refused_however_it_is_stored(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    """Other shards, order, prefix or a config edited by a byte: there is nothing to compare."""
    decoder = tiny_decoder("llama", tie_word_embeddings=True)
    audit = audit_against(tmp_path, decoder, decoder, IDS)
    change(tmp_path / "model")
    with pytest.raises(
        OptionError, match=r"parent has the weights of .*model, loaded the same way"
    ):
        audit.check_state_drift_below(relative=0.35)


def test_a_copy_whose_config_is_another_function_is_refused_with_the_field(tmp_path: Path) -> None:
    """Its numbers differ, by the configuration alone."""
    decoder = tiny_decoder("llama")
    audit = audit_against(tmp_path, decoder, decoder, IDS)
    configure(tmp_path / "model", rms_norm_eps=1e-3)
    with pytest.raises(
        OptionError, match=r"proves nothing; config .* rms_norm_eps 0.001 \(parent 1e-06"
    ):
        audit.check_state_drift_below(relative=0.35)
    assert "FAIL same_function rms_norm_eps" in audit.check_same_function().first_line


def test_a_gguf_file_of_the_parents_weights_is_refused(tmp_path: Path) -> None:
    """Read in the parent's dtype; read in a wider one its states round otherwise."""
    decoder = tiny_decoder("llama", dtype=torch.bfloat16)
    audit = audit_against(tmp_path, decoder, decoder, IDS)
    path = str(write_gguf(decoder, tmp_path / "child.gguf"))
    same, wide = (
        Audit(replace(audit.config, model=path, dtype=dtype)) for dtype in ("bfloat16", "float32")
    )
    with pytest.raises(OptionError, match="proves nothing"):
        same.check_state_drift_below(1, relative=0.35)
    (reason,) = wide.check_state_drift_below(1, relative=0.35).reasons
    assert 0 < reason.value < 0.1


def test_one_number_or_a_swap_of_blocks_makes_another_model(tmp_path: Path) -> None:
    """Equal tensors in other places are compared."""
    child, parent = tiny_decoder("llama"), tiny_decoder("llama")
    layers: Any = child.parts.blocks
    layers[0], layers[1] = layers[1], layers[0]
    audit = audit_against(tmp_path, child, parent, IDS)
    assert not audit.check_state_drift_below(1, relative=0.01).passed
    child = tiny_decoder("llama")
    child.model.state_dict()["model.norm.weight"][-1] += 0.5
    (tmp_path / "one").mkdir()
    other = audit_against(tmp_path / "one", child, parent, IDS)
    assert not other.check_state_drift_below("norm", relative=1e-6).passed


def test_rounded_activations_make_another_model_of_the_same_weights(tmp_path: Path) -> None:
    """The same checkpoint with and without is a legitimate pair."""
    decoder = tiny_decoder("llama")
    audit = audit_against(tmp_path, decoder, decoder, IDS, activation_bits="4")
    assert not audit.check_state_drift_below(2, relative=1e-6).passed


def _texts(folder: Path, tokenizers: list[Any], **config: Any) -> Audit:
    decoders = [
        tiny_decoder(vocab=260, seed=0, tokenizer=tokenizers[0]),
        tiny_decoder(vocab=260, seed=1, tokenizer=tokenizers[1]),
    ]
    for name, decoder in zip(("model", "parent"), decoders, strict=True):
        save_checkpoint(decoder, folder / name)
    rows = [json.dumps({"text": f"prompt {at}{at * at}"}) for at in range(12)]
    (folder / "p.jsonl").write_text("\n".join(rows))
    return Audit(
        AuditConfig(
            model=str(folder / "model"),
            reference=str(folder / "parent"),
            prompts=str(folder / "p.jsonl"),
            device="cpu",
            **config,
        )
    )


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    """Of the same size, and with other ids for the same texts: how many prompts differ is said."""
    audit = _texts(tmp_path, [byte_tokenizer(), byte_tokenizer(bos=True)])
    with pytest.raises(OptionError, match="has another tokenizer: of 12 prompts 12 have other"):
        audit.check_state_drift_below(relative=0.35)
    (tmp_path / "without").mkdir()
    alike = _texts(
        tmp_path / "without", [byte_tokenizer(), byte_tokenizer(bos=True)], special_tokens="no"
    )
    assert alike.reference.target.prompts is alike.prompts


def test_rows_of_ids_need_no_tokenizer(tmp_path: Path) -> None:
    """Nor does a parent that has none contradict."""
    audit = _texts(tmp_path, [byte_tokenizer(), None])
    assert audit.reference.target.prompts is audit.prompts
    assert 12 == len(audit.comparisons.against.drift(1).relative)


def test_the_parent_shares_what_is_not_the_models_own(tmp_path: Path) -> None:
    """Prompts, metric, seed, layers, store; not dtype, quantization or states from elsewhere."""
    audit = audit_against(
        tmp_path,
        tiny_decoder(),
        rounded(),
        IDS,
        dtype="bfloat16",
        prompt_metric="hamming",
        layers="1",
        seed=3,
        cache_dir=str(tmp_path / "store"),
    )
    config = audit.reference.target.config
    assert ("auto", None, None, None) == (
        config.dtype,
        config.quantization,
        config.states,
        config.reference,
    )
    assert ("hamming", "1", 3) == (config.prompt_metric, config.layers, config.seed)
    assert "float32" == audit.reference.target.facts.dtype
    assert audit.target.identity != audit.reference.target.identity
    assert audit.reference.target.name_of(3) == audit.name_of(3)


def test_nothing_is_kept_where_nothing_is_to_be_kept(tmp_path: Path) -> None:
    """Both use one folder, which goes with the audit."""
    audit = audit_against(tmp_path, rounded(), tiny_decoder(), IDS, no_cache=True)
    audit.comparison(1)
    folder = audit.target.kept.store.folder
    assert folder == audit.reference.target.kept.store.folder
    assert folder.exists()
    del audit
    gc.collect()
    assert not folder.exists()
