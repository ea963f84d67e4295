"""Functions here are read and never run."""

from collections.abc import Callable
from typing import Any

import pytest

from pytest_injectivity.plugin.reading.reader import Noted, Reader
from pytest_injectivity.plugin.reading.values import UNKNOWN, AuditValue

BITS = (8, 4)
BOUNDS = {"norm": 0.5, 1: 0.25}


def _read(function: Callable[..., Any], **known: Any) -> list[Noted]:
    reader = Reader()
    audit = AuditValue({"n_layers": 6})
    reader.follow(function, {"injx": audit, **known})
    return reader.noted


def test_arguments_are_read() -> None:
    """Constants, lists and arithmetic with what is known of the audit."""

    def body(injx: Any) -> None:
        middle = max(1, injx.n_layers // 2)
        injx.assert_sipit_recovers([1, middle, -1], certify=20)

    assert [Noted("assert_sipit_recovers", ([1, 3, -1],), {"certify": 20})] == _read(body)


def test_names_of_the_module_are_read() -> None:
    """And elements of its dictionaries."""

    def body(injx: Any, layer: Any) -> None:
        injx.assert_margin_above(layer, BOUNDS[layer])

    assert [Noted("assert_margin_above", ("norm", 0.5), {})] == _read(body, layer="norm")


def test_loops_over_known_lists_are_followed() -> None:
    """Each turn with its own value, and conditions that are known by one side."""

    def body(injx: Any) -> None:
        for bits in BITS:
            injx.geometry(1, bits=bits)
            if bits > 5:
                injx.assert_no_collisions(1, bits=bits)

    assert ["geometry", "assert_no_collisions", "geometry"] == [one.method for one in _read(body)]


def test_both_sides_of_an_unknown_condition_are_followed() -> None:
    """Either may run."""

    def body(injx: Any, something: Any) -> None:
        if something():
            injx.assert_no_collisions(1)
        else:
            injx.assert_no_collisions(2)

    assert [(1,), (2,)] == [one.given for one in _read(body)]


def test_what_is_not_known_is_unknown() -> None:
    """An argument that only running the test would give."""

    def body(injx: Any) -> None:
        injx.assert_no_collisions(open("layers").read(), eps=1e-6)  # noqa: PTH123, SIM115 - never run

    (noted,) = _read(body)
    assert (UNKNOWN,) == noted.given
    assert {"eps": 1e-6} == noted.named


def test_lists_within_lists_are_joined() -> None:
    """As the test would; of one that is not known, nothing is."""

    def body(injx: Any, few: Any, some: Any) -> None:
        injx.assert_one_step_distinct([0, *few])
        injx.assert_one_step_distinct((0, *some))

    found = _read(body, few=[1, -1], some=UNKNOWN)
    assert [([0, 1, -1],), (UNKNOWN,)] == [one.given for one in found]


def _helper(audit: Any, layer: int, *, eps: float = 0.5) -> None:
    audit.check_no_collisions(layer, eps=eps)


def test_functions_of_the_module_are_followed() -> None:
    """With their arguments and defaults."""

    def body(injx: Any) -> None:
        _helper(injx, 3)

    assert [Noted("check_no_collisions", (3,), {"eps": 0.5})] == _read(body)


def _endless(audit: Any) -> None:
    audit.check_no_collisions(1)
    _endless(audit)


def test_a_function_that_calls_itself_ends() -> None:
    """What is read is followed to a depth."""
    assert _read(_endless_body)


def _endless_body(injx: Any) -> None:
    _endless(injx)


def test_nothing_is_run() -> None:
    """Not even what stands before the first check, with, try and assert among it."""
    ran: list[int] = []

    def body(injx: Any) -> None:
        ran.append(1)
        with pytest.raises(ValueError, match="x"):
            injx.assert_no_collisions(1)
        try:
            assert injx.check_no_collisions(2).passed
        finally:
            ran.append(2)

    assert [(1,), (2,)] == [one.given for one in _read(body)]
    assert [] == ran


def test_comprehensions_are_followed() -> None:
    """Each element of a list that is known."""

    def body(injx: Any) -> None:
        assert all(injx.check_no_collisions(layer) for layer in (1, 2))

    assert [(1,), (2,)] == [one.given for one in _read(body)]


def test_comprehensions_within_comprehensions_are_followed() -> None:
    """Over a dictionary's items too; a set has each element once."""

    def body(injx: Any) -> None:
        cuts = sorted({1 + at // 2 for at in range(4)})
        texts = [f"{name}@{cut}" for cut in cuts for name in ("identity", "permute")]
        texts += [f"{key}@{bound}" for key, bound in BOUNDS.items()]
        injx.exposures(texts, **({"prompts": 4} | {"tokens": 2}))

    texts = ["identity@1", "permute@1", "identity@2", "permute@2", "norm@0.5", "1@0.25"]
    assert [Noted("exposures", (texts,), {"prompts": 4, "tokens": 2})] == _read(body)


def test_a_comprehension_with_a_condition_is_followed_once() -> None:
    """With elements that are not known."""

    def body(injx: Any) -> None:
        assert all(injx.check_no_collisions(layer) for layer in (1, 2) if layer)

    assert [(UNKNOWN,)] == [one.given for one in _read(body)]


def test_what_a_precision_is_asked_is_asked_of_an_audit() -> None:
    """``in_precision`` gives an audit, whose checks count."""

    def body(injx: Any) -> None:
        coarse = injx.in_precision(dtype="bfloat16")
        coarse.assert_margin_retained(-1, 0.5)

    assert ["in_precision", "assert_margin_retained"] == [one.method for one in _read(body)]


def test_a_function_without_source_is_unknown() -> None:
    """As one of C, or a lambda."""
    reader = Reader()
    assert UNKNOWN is reader.follow(len, {})
    assert UNKNOWN is reader.follow(lambda: 1, {})
