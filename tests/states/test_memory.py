"""What is held in memory, and how much there is."""

from pathlib import Path

from pytest_injectivity.states.memory import Held, default_budget


def test_layers_not_used_for_longest_go_first() -> None:
    """Whole, and no more of them than others need room."""
    held = Held(100)
    held.put(1, "states", "one", 30)
    held.put(1, "geometry", "of one", 10)
    held.put(2, "states", "two", 40)
    assert "one" == held.get(1, "states")
    held.put("norm", "states", "norm", 50)
    assert (None, "one", "norm") == tuple(held.get(layer, "states") for layer in (2, 1, "norm"))
    assert 90 == held.size
    held.put(3, "states", "three", 60)
    assert (None, None) == (held.get(1, "states"), held.get(1, "geometry"))


def test_a_layer_too_large_lets_its_other_parts_go() -> None:
    """What was put in last stays, as somebody is using it; what costs nothing stays too."""
    held = Held(100)
    held.put(1, "mapped", "rows", 0)
    held.put(1, 4, "of 4 bits", 90)
    held.put(1, 3, "of 3 bits", 120)
    assert ("rows", None, "of 3 bits") == tuple(held.get(1, part) for part in ("mapped", 4, 3))


def test_a_part_put_in_again_is_counted_once() -> None:
    """In its new size."""
    held = Held(100)
    held.put(1, "states", "old", 90)
    held.put(1, "states", "new", 20)
    assert (20, "new") == (held.size, held.get(1, "states"))


def test_the_budget_is_half_of_what_is_free(tmp_path: Path) -> None:
    """Processes that compute side by side divide it."""
    folder = tmp_path / "sys/fs/cgroup"
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("300000\n")
    (folder / "memory.current").write_text("50000\n")
    assert 125_000 == default_budget(1, system=tmp_path)
    assert 31_250 == default_budget(4, system=tmp_path)
