"""Tests of how a target loads its prompts."""

from pathlib import Path

import pytest

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.errors import PromptError


@pytest.mark.parametrize("source", ["{}", "builtin:challenge({})"])
def test_a_wrong_file_is_refused_before_weights_are_loaded(tmp_path: Path, source: str) -> None:
    """By its first prompt: loading a large model takes minutes."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "conv-1"}\n')
    target = Target(AuditConfig(prompts=source.format(path), no_cache=True))

    for _ in range(2):
        with pytest.raises(PromptError, match="line 1: which field holds the prompt"):
            _ = target.prompts
    assert not target.loaded


def test_a_conversation_for_a_model_without_a_template_is_refused_before(tmp_path: Path) -> None:
    """The tokenizer is enough to know."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "one"}]}\n')
    target = Target(AuditConfig(prompts=str(path), no_cache=True))

    with pytest.raises(PromptError, match="this model has no chat template"):
        _ = target.prompts
    assert not target.loaded
