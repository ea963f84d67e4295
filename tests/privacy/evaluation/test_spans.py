import numpy as np
import pytest

from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.evaluation.spans import Span, find_spans, offsets_of, span_rates
from pytest_injectivity.testing import byte_tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call 030 1234-567 now", [("number", "030 1234-567")]),
        ("it costs 1,299.00 euros.", [("number", "1,299.00")]),
        (
            "write to ann.lee+x@mail.example.org!",
            [("e-mail address", "ann.lee+x@mail.example.org")],
        ),
        ("see https://example.org/a?b=1 there", [("web address", "https://example.org/a?b=1")]),
        ("we met Ada Lovelace in London.", [("name", "Ada Lovelace"), ("name", "London")]),
        ("Maria de Souza paid 40", [("name", "Maria de Souza"), ("number", "40")]),
        ("The end. Nothing here.", []),
        ("x1 = y2", []),
        ("", []),
    ],
)
def test_spans_are_what_their_patterns_say(text: str, expected: list[tuple[str, str]]) -> None:
    """A first word is no name by its capital alone, and a digit in a word is no number."""
    found = [(span.kind, text[span.start : span.end]) for span in find_spans(text)]
    assert expected == found


def test_own_kinds_are_tried_first() -> None:
    """What they find belongs to nobody else."""
    found = find_spans("badge 4711 of 12", {"badge": r"badge \d+"})
    assert (Span("badge", 0, 10), Span("number", 14, 16)) == found


def test_a_pattern_that_is_none_is_refused() -> None:
    """By its name."""
    with pytest.raises(OptionError, match=r"spans 'badge': '\(' is not a regular expression"):
        find_spans("x", {"badge": "("})


def test_every_token_knows_its_characters() -> None:
    """One a byte here: all bytes of a character hold it."""
    tokenizer = byte_tokenizer()
    ids = tokenizer("aé€b")["input_ids"]
    text, offsets = offsets_of(tokenizer, ids)
    assert "aé€b" == text
    assert ((0, 1), (1, 2), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4)) == offsets


def test_a_span_is_read_when_all_its_tokens_are() -> None:
    """One token short is not exact; tokens that are given count as read, spans of them not at all."""
    tokenizer = byte_tokenizer()
    texts = ["pay 40 to 50", "pay 40 to 50"]
    prompts = [offsets_of(tokenizer, tokenizer(text)["input_ids"]) for text in texts]
    right = np.ones((2, 12), dtype=bool)
    judged = np.ones((2, 12), dtype=bool)
    right[0, 5] = False
    right[1, :6] = judged[1, :6] = False
    (rate,) = span_rates(prompts, right, judged)
    assert ("number", 2, 3) == (rate.kind, rate.read, rate.found)
    assert 2 / 3 == rate.value


def test_kinds_are_counted_apart() -> None:
    """By name, own kinds among them."""
    tokenizer = byte_tokenizer()
    prompt = offsets_of(tokenizer, tokenizer("ask Bob Lee, badge 7")["input_ids"])
    all_right = np.ones((1, len(prompt[1])), dtype=bool)
    found = span_rates([prompt], all_right, all_right, {"badge": r"badge \d"})
    assert [("badge", 1, 1), ("name", 1, 1)] == [(one.kind, one.read, one.found) for one in found]
