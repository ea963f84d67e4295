"""A search in parts: what is asked of whoever remembers, and in which order."""

from collections.abc import Callable

from pytest_injectivity.geometry.search.resumable import SearchPart, forgetful, in_parts


def test_forgetful_computes_every_time() -> None:
    """Whatever the key is."""
    calls: list[int] = []
    assert [None, None] == [forgetful("one", lambda: calls.append(1)) for _ in range(2)]
    assert [1, 1] == calls


def test_a_single_part_is_not_remembered() -> None:
    """Its search is remembered whole, by the caller."""
    taken: list[str] = []

    def remember(_key: SearchPart, _compute: Callable[[], str]) -> str:
        raise AssertionError

    in_parts(["a"], str.upper, taken.append, remember)
    assert ["A"] == taken


def test_each_part_is_remembered_by_its_number_and_taken_in_order() -> None:
    """A part that is known is not searched again, and is taken all the same."""
    known, looked_at, taken = {SearchPart(1, 3): "known"}, [], []

    def look(part: str) -> str:
        looked_at.append(part)
        return part.upper()

    def remember(key: SearchPart, compute: Callable[[], str]) -> str:
        if key not in known:
            known[key] = compute()
        return known[key]

    in_parts(["a", "b", "c"], look, taken.append, remember)
    assert ["b", "c"] == looked_at
    assert ["known", "B", "C"] == taken
    assert [SearchPart(number, 3) for number in (1, 2, 3)] == list(known)
