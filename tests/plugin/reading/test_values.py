import ast

import pytest

from pytest_injectivity.plugin.reading.values import (
    UNKNOWN,
    called,
    compared,
    computed,
    item,
    method_called,
)


def test_arithmetic_of_numbers_is_known() -> None:
    """And that of numbers alone, sums of texts apart."""
    assert 3 == computed(ast.FloorDiv(), 7, 2)
    assert "ab" == computed(ast.Add(), "a", "b")
    assert UNKNOWN is computed(ast.Mult(), "a", 10**12)


def test_powers_are_not_computed() -> None:
    """A source could ask for a number that fills the memory."""
    assert UNKNOWN is computed(ast.Pow(), 10, 10)


def test_what_would_fail_is_unknown() -> None:
    """Reading a test never fails where running it would."""
    assert UNKNOWN is computed(ast.Div(), 1, 0)
    assert UNKNOWN is item({}, "a")
    assert UNKNOWN is called("int", ["x"], {})
    assert UNKNOWN is compared([ast.Lt()], [1, "a"])


@pytest.mark.parametrize("name", ["open", "exec", "eval", "__import__", "getattr", "print"])
def test_no_function_that_does_something_is_called(name: str) -> None:
    """Only those that compute."""
    assert UNKNOWN is called(name, ["1"], {})


def test_methods_of_texts_and_dictionaries_are_called() -> None:
    """Those that compute, and no other."""
    assert "a4" == method_called("a?", "replace", ["?", "4"])
    assert [("a", 1)] == method_called({"a": 1}, "items", [])
    assert UNKNOWN is method_called("a", "encode", [])
    assert UNKNOWN is method_called([3, 1], "sort", [])
    assert UNKNOWN is method_called("a" * 999, "replace", ["a", "aaaa"])


def test_dictionaries_are_joined() -> None:
    """As ``SIZE | {"tokens": None}``."""
    assert {"a": 1, "b": 2} == computed(ast.BitOr(), {"a": 1}, {"b": 2})


def test_a_long_range_is_unknown() -> None:
    """A list of a billion numbers is not made."""
    assert [0, 1] == called("range", [2], {})
    assert UNKNOWN is called("range", [10**9], {})


def test_comparisons_chain() -> None:
    """As in Python."""
    assert compared([ast.Lt(), ast.Lt()], [1, 2, 3])
    assert not compared([ast.Lt(), ast.Lt()], [1, 3, 2])
