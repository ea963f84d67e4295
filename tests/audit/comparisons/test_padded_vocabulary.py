"""Models whose embeddings have other numbers of rows than their parents': rows that no token has."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, AuditConfig, OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import byte_tokenizer, round_weights, save_checkpoint, tiny_decoder
from tests.audit.comparisons.rounded import IDS
from tests.repetitions import mostly_slow

TOKENS = len(byte_tokenizer())
SAID = f"left out, because no token has them: 16 rows of the {{}}'s vocabulary of {TOKENS + 16}"


def _decoder(rows: int, *, tied: bool) -> Decoder:
    """A model whose first rows are those of every other number of rows."""
    widest = tiny_decoder("llama", vocab=TOKENS + 16, tie_word_embeddings=tied)
    if rows == TOKENS + 16:
        return widest
    decoder = tiny_decoder("llama", vocab=rows, tie_word_embeddings=tied)
    wide = widest.model.state_dict()
    own = decoder.model.state_dict()
    decoder.model.load_state_dict({name: wide[name][: len(one)] for name, one in own.items()})
    return decoder


def _audit(folder: Path, child: Decoder, parent: Decoder, tokenizers: tuple[Any, Any]) -> Audit:
    for name, decoder, tokenizer in zip(
        ("child", "parent"), (child, parent), tokenizers, strict=True
    ):
        save_checkpoint(decoder, folder / name, tokenizer)
    rows = [json.dumps({"ids": list(map(int, ids))}) for ids in IDS]
    (folder / "prompts.jsonl").write_text("\n".join(rows))
    paths = {"model": folder / "child", "reference": folder / "parent"}
    given = {name: str(path) for name, path in paths.items()}
    return Audit(AuditConfig(**given, prompts=str(folder / "prompts.jsonl"), device="cpu"))


@pytest.mark.parametrize(
    ("wider", "tied"),
    mostly_slow([*product(("parent", "model"), (True, False))], ("parent", True), ("model", False)),
)
def test_the_rows_that_both_have_are_compared(tmp_path: Path, wider: str, *, tied: bool) -> None:
    """By weights, blocks, next tokens and blame; how many are left out is said."""
    sizes = (TOKENS, TOKENS + 16) if wider == "parent" else (TOKENS + 16, TOKENS)
    child, parent = (_decoder(rows, tied=tied) for rows in sizes)
    audit = _audit(tmp_path, round_weights(child, 8), parent, (byte_tokenizer(), byte_tokenizer()))
    weights = audit.check_weight_error_below(relative=0.02)
    assert weights.passed
    assert SAID.format(wider) in weights.reasons[0].evidence
    assert 0.0 == weights.reasons[0].figures["embed_tokens"]
    assert audit.check_block_error_below(relative=0.1).passed
    assert audit.check_next_token_kept(kl=0.1).passed
    assert audit.check_same_function().passed
    assert audit.blame("norm").control == 0
    assert audit.blame("norm").left < 1e-6


def test_a_damaged_row_that_both_have_is_found(tmp_path: Path) -> None:
    """Of the embeddings."""
    child, parent = _decoder(TOKENS, tied=False), _decoder(TOKENS + 16, tied=False)
    child.parts.embeddings.weight.data[7] *= 2.0
    audit = _audit(tmp_path, child, parent, (byte_tokenizer(), byte_tokenizer()))
    found = audit.check_weight_error_below(0)
    assert "embed_tokens, row 7, is 2 times the parent's" in found.first_line


@pytest.mark.parametrize(
    ("rows", "tokenizers", "said"),
    [
        (TOKENS, (None, None), "without both tokenizers it is not known"),
        (TOKENS, (byte_tokenizer(), byte_tokenizer(bos=True)), "the tokenizers have other tokens"),
        (TOKENS - 6, (byte_tokenizer(), byte_tokenizer()), f"6 tokens from {TOKENS - 6} on"),
    ],
)
def test_rows_that_may_be_tokens_are_refused(
    rows: int, tokenizers: tuple[Any, Any], said: str, tmp_path: Path
) -> None:
    """Where the tokenizers say so, differ, or are not there."""
    child, parent = _decoder(rows, tied=True), _decoder(TOKENS + 16, tied=True)
    audit = _audit(tmp_path, child, parent, tokenizers)
    with pytest.raises(OptionError, match=f"vocabulary {rows} and {TOKENS + 16}, and .*{said}"):
        audit.check_weight_error_below(0)


@pytest.mark.parametrize("wider", ["parent", "model"])
def test_the_parent_with_other_rows_is_no_child(tmp_path: Path, wider: str) -> None:
    """Nothing but the padding differs: there is nothing to compare."""
    sizes = (TOKENS, TOKENS + 16) if wider == "parent" else (TOKENS + 16, TOKENS)
    child, parent = (_decoder(rows, tied=False) for rows in sizes)
    audit = _audit(tmp_path, child, parent, (byte_tokenizer(), byte_tokenizer()))
    with pytest.raises(OptionError, match="comparing a model with itself proves nothing"):
        audit.check_weight_error_below(0)


def test_a_model_that_prefers_what_no_token_has_does_not_keep_its_next_tokens(
    tmp_path: Path,
) -> None:
    """Rows of padding that are louder than those of tokens."""
    child, parent = (_decoder(rows, tied=False) for rows in (TOKENS + 16, TOKENS))
    round_weights(child, 8)
    child.model.get_output_embeddings().weight.data[TOKENS:] *= 50.0  # type: ignore[operator, union-attr]
    audit = _audit(tmp_path, child, parent, (byte_tokenizer(), byte_tokenizer()))
    found = audit.check_next_token_kept(top1=0.9)
    assert not found.passed
    assert "of the model's probability is on ids that the parent has not" in found.text
