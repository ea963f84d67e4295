"""Which repetitions fail, why, and what is asked of a model."""

from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, LayerError, OptionError
from pytest_injectivity.errors import PromptError
from pytest_injectivity.testing import byte_tokenizer, tiny_decoder
from tests.audits import audit_of

IDS = [[0, 1], [0, 2], [1, 2, 3]]


@pytest.fixture(scope="module")
def rotary(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A rotary model without a tokenizer, whose attention sees a window of 8 tokens."""
    return audit_of(tmp_path_factory.mktemp("rotary"), tiny_decoder("mistral"), IDS)


def test_rotary_positions_without_a_beginning_are_structural(rotary: Audit) -> None:
    """Every token of the text sees copies of itself; the verdict says so of each layer."""
    verdict = rotary.check_no_repetition_collapse(2, [1, 2], tokens=[7])
    assert [(2, "layer01"), (2, "layer02")] == [(one.value, one.where) for one in verdict.reasons]
    assert {"structural from n = 1 on, 2 of 2 steps not told apart"} == {
        one.headline for one in verdict.reasons
    }
    kinds = ("equal", "unresolved", "by_rounding")
    assert {2} == {sum(one.figures[kind] for kind in kinds) for one in verdict.reasons}
    assert {1} == {one.figures[f"alike_at_{n}"] for one in verdict.reasons for n in (1, 2)}
    assert {0} == {one.bound for one in verdict.reasons}
    assert "structural, the architecture cannot see the difference" in verdict.text
    assert "equal in float64 at every n" in verdict.text
    assert "repetitions behind 0 tokens, 0 tokens after them" in verdict.text


def test_a_beginning_tells_them_apart(rotary: Audit) -> None:
    """And so does an end behind it; each token's steps count."""
    verdict = rotary.check_no_repetition_collapse(3, 2, tokens=[7, 7, 8], beginning=[5], end=[6, 9])
    assert verdict.passed
    assert "6 steps told apart" in verdict.first_line
    assert "repetitions behind 1 token, 2 tokens after them" in verdict.text
    counted = {"steps": 6, "equal": 0, "unresolved": 0, "by_rounding": 0, "tokens": 2}
    assert counted == verdict.reasons[0].figures


def test_a_table_of_positions_that_is_zero_is_accidental(tmp_path: Path) -> None:
    """Other positions would tell the repetitions apart: the checkpoint's values are at fault."""
    decoder = tiny_decoder("gpt2")
    table: Any = decoder.parts.base.wpe.weight
    table.zero_()
    (reason,) = audit_of(tmp_path, decoder, IDS).check_no_repetition_collapse(1, 1).reasons
    assert "accidental from n = 1 on" in reason.headline
    assert 1 == reason.figures["first"]
    assert 3 == reason.figures["steps"]


def test_rounded_activations_are_not_diagnosed(tmp_path: Path) -> None:
    """There is no float64 copy of such a model: the verdict says so."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS, activation_bits=2)
    verdict = audit.check_no_repetition_collapse(1, 1, tokens=[3])
    assert "undiagnosed from n = 1 on" in verdict.first_line
    assert "not diagnosed: a float64 copy of" in verdict.text


def test_special_tokens_are_the_beginning_where_none_is_given(tmp_path: Path) -> None:
    """Every prompt of such a model begins with them."""
    decoder = tiny_decoder("llama", vocab=257, tokenizer=byte_tokenizer(bos=True))
    verdict = audit_of(tmp_path, decoder, IDS).check_no_repetition_collapse(2, 1, tokens=[3])
    assert verdict.passed
    assert "repetitions behind 1 token, 0 tokens after them" in verdict.text


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"n": 0}, OptionError, r"^n=0: give an integer of at least 1"),
        ({"n": 1.5}, OptionError, r"^n=1.5: give an integer of at least 1"),
        ({"n": 64}, OptionError, r"^n=64: 65 repetitions .* give at most 63$"),
        ({"tokens": []}, OptionError, "tokens names no token: give at least one id"),
        ({"tokens": "the"}, OptionError, "tokens='the': give a list of token ids"),
        ({"tokens": [-1]}, OptionError, "a token of tokens=-1: give an integer of at least 0"),
        ({"tokens": [64]}, PromptError, "token 64 is no id of the model: give .* from 0 to 63"),
        ({"beginning": ["a"]}, OptionError, "a token of beginning='a'"),
        ({"end": [64]}, PromptError, "token 64 is no id of the model"),
        ({"layer": 3}, LayerError, "3"),
        ({"layer": []}, (LayerError, OptionError), "layer"),
    ],
)
def test_what_a_model_cannot_be_asked_is_refused(
    rotary: Audit, given: dict[str, Any], error: Any, words: str
) -> None:
    """By the value that is wrong, and what would be accepted."""
    with pytest.raises(error, match=words):
        rotary.check_no_repetition_collapse(**{"n": 2, "layer": 1, "tokens": [3], **given})


def test_a_window_forgets_its_beginning(rotary: Audit) -> None:
    """The words say from where on, and that it lasts."""
    verdict = rotary.check_no_repetition_collapse(10, 1, tokens=[7], beginning=[5])
    assert "structural from n = 8 on, 3 of 10 steps not told apart" in verdict.text
    assert "equal in float64 first at n = 8, at 30 % of all, at all from n = 8 on" in verdict.text
