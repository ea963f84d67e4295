"""The check on configuration and tokenizer, and its lines in every other comparison that fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, OptionError, PromptError
from pytest_injectivity.models import loading
from pytest_injectivity.results.verdict import Status
from pytest_injectivity.testing import save_checkpoint, tiny_decoder
from tests.audit.comparisons.rounded import IDS
from tests.audits import audit_against
from tests.quantized import configure


def _against(folder: Path, edited: dict[str, Any], ids: Any = IDS, **config: Any) -> Audit:
    """A model whose configuration was edited, against what it was before; weights of other seeds."""
    audit = audit_against(
        folder, tiny_decoder("llama", seed=1), tiny_decoder("llama"), ids, **config
    )
    configure(folder / "model", **edited)
    return audit


def test_equal_configurations_pass_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The differences are those of two files."""
    audit = _against(tmp_path, {})
    with monkeypatch.context() as patched:
        patched.setattr(loading, "load", None)
        assert () == audit.comparisons.differences
    verdict = audit.check_same_function()
    assert "PASS same_function: config and tokenizer: fields that differ 0, meets <= 0" == (
        verdict.first_line
    )


def test_each_field_is_a_reason_with_both_values(tmp_path: Path) -> None:
    """A field that changes the function fails; one that only may proves neither."""
    audit = _against(tmp_path, {"rms_norm_eps": 1e-5, "hidden_act": "gelu", "colour": 1})
    verdict = audit.check_same_function()
    assert "FAIL same_function hidden_act: gelu (parent silu) (+2 more)" == verdict.first_line
    assert {"hidden_act": "FAIL", "rms_norm_eps": "FAIL", "colour": "INSUFFICIENT"} == {
        one.where: str(one.status) for one in verdict.reasons
    }
    assert "rms_norm_eps: FAIL: 1e-05 (parent 1e-06)" in verdict.text
    assert "would have passed: accepted=['rms_norm_eps'], if it is meant" in verdict.text


def test_fields_that_are_accepted_pass(tmp_path: Path) -> None:
    """By their names, or by the name of the object that they are in."""
    rope = {"rope_type": "default", "rope_theta": 5e5}
    audit = _against(tmp_path, {"rope_parameters": rope, "colour": 1})
    assert Status.FAIL is audit.check_same_function(["colour"]).status
    assert audit.check_same_function(["colour", "rope_parameters"]).passed
    assert not audit.check_same_function(["colour", "rope"]).passed
    with pytest.raises(OptionError, match="accepted='colour': give a list"):
        audit.check_same_function("colour")
    with pytest.raises(OptionError, match="accepted=5: give a list"):
        audit.check_same_function(5)  # type: ignore[arg-type]


def test_a_field_stands_before_the_numbers_of_a_comparison_that_fails(tmp_path: Path) -> None:
    """After the first line; a comparison that passes has no such line."""
    audit = _against(tmp_path, {"rms_norm_eps": 1e-5}, IDS[:12])
    for verdict in (
        audit.check_state_drift_below(1, 1e-9),
        audit.check_margin_retained(1, fraction=1.0, at_most=1.0),
    ):
        assert (
            "  config differs from the parent's: rms_norm_eps 1e-05 (parent 1e-06)"
            == (verdict.text.splitlines()[1])
        )
    assert () == audit.check_state_drift_below(1, 1e9).ahead


def test_a_context_that_was_cut_is_named_before_the_prompts(tmp_path: Path) -> None:
    """Prompts that are too long are refused, and the reason comes first."""
    ids = [[*range(20), at] for at in range(12)]
    audit = _against(tmp_path, {"max_position_embeddings": 16}, ids)
    expected = (
        r"^config differs from the parent's: max_position_embeddings 16 \(parent 64\); prompts.jsonl:"
        r" 12 of its prompts are longer"
    )
    with pytest.raises(PromptError, match=expected):
        audit.check_state_drift_below(1, 0.5)


def test_another_tokenizer_is_refused_with_the_rule_that_differs(tmp_path: Path) -> None:
    """Its ids are not comparable, and the message says why they differ."""
    from pytest_injectivity.testing import byte_tokenizer

    child = tiny_decoder(vocab=260, seed=1, tokenizer=byte_tokenizer())
    parent = tiny_decoder(vocab=260, tokenizer=byte_tokenizer(bos=True))
    audit = audit_against(tmp_path, child, parent, IDS)
    rows = [json.dumps({"text": f"prompt {at}"}) for at in range(12)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows))
    with pytest.raises(OptionError, match=r"other token ids; config differs .*ids around a text"):
        audit.check_state_drift_below(1, 0.5)
    assert "tokenizer.bos_token" in audit.check_same_function().text


def test_a_copy_in_another_folder_is_the_same_function(tmp_path: Path) -> None:
    """Names of folders are no fields."""
    decoder = tiny_decoder("qwen2", seed=1)
    audit = audit_against(tmp_path, decoder, tiny_decoder("qwen2"), IDS)
    assert audit.assert_same_function().passed
    windows = {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 0}
    save_checkpoint(tiny_decoder("qwen2", **windows), tmp_path / "model")
    assert "layer_types" in Audit(audit.config).check_same_function().text
