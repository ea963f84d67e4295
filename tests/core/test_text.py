import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.text import number_of, one_line, verb


@given(st.text(), st.integers(1, 300))
def test_nothing_in_the_result_steers_a_terminal(text: str, longest: int) -> None:
    """No control, format, surrogate or private character, no line or paragraph separator."""
    shown = one_line(text, longest)
    categories = {unicodedata.category(character) for character in shown}
    assert not categories & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert 1 >= len(shown.splitlines())


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_plain_text_stays_as_it_is(text: str) -> None:
    """Letters of any script, numbers, punctuation, symbols and spaces are not touched."""
    assert text[:160] == one_line(text)[:160]
    if len(text) <= 160:
        assert text == one_line(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\ud800", "\\ud800"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\u200b\ufeff", "\\u200b\\ufeff"),
        ("ünïcödé 漢字 🙂", "ünïcödé 漢字 🙂"),
    ],
)
def test_what_is_escaped_can_be_read(text: str, expected: str) -> None:
    """Escapes are Python's."""
    assert expected == one_line(text)


@given(st.text(max_size=400), st.integers(1, 200))
def test_the_length_is_bounded(text: str, longest: int) -> None:
    """And a cut is seen."""
    shown = one_line(text, longest)
    assert len(shown) <= longest + 1 or len(text) <= longest
    assert len(shown) <= 10 * longest
    if len(text) > longest:
        assert shown.endswith("…")
        assert longest + 1 == len(shown)


def test_one_thing_is_in_the_singular() -> None:
    """And none, or many, in the plural."""
    assert ["0 rivals", "1 rival", "2 rivals"] == [number_of(n, "rival") for n in range(3)]
    assert "1,200 classes" == number_of(1200, "class", "classes")


def test_a_verb_goes_with_its_number() -> None:
    """``is`` after 1."""
    assert ["are", "is", "are"] == [verb(n, "is", "are") for n in range(3)]
