"""What is held in memory, and how much there is."""

from pathlib import Path

import pytest
import torch

from pytest_injectivity.states import memory
from pytest_injectivity.states.memory import Held, default_budget, free_memory

CPU = torch.device("cpu")


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


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for what the system says."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def test_files_that_are_cached_count_as_free(system: Path) -> None:
    """The kernel's own estimate."""
    (system / "meminfo").write_text("MemTotal: 900 kB\nMemFree: 5 kB\nMemAvailable:  700 kB\n")
    assert 700 * 1024 == free_memory(CPU)
    assert 350 * 1024 == default_budget(1)
    assert 87.5 * 1024 == default_budget(4)


@pytest.mark.parametrize(("limit", "free"), [("max", 700 * 1024), ("300000", 250_000)])
def test_a_container_has_less(system: Path, limit: str, free: int) -> None:
    """What its limit leaves of it."""
    (system / "meminfo").write_text("MemAvailable:  700 kB\n")
    (system / "memory.max").write_text(limit + "\n")
    (system / "memory.current").write_text("50000\n")
    assert free == free_memory(CPU)


def test_a_system_that_does_not_say(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known, and 4 GiB are assumed for the budget."""

    def unknown(_name: str) -> int:
        raise ValueError

    monkeypatch.setattr("os.sysconf", unknown)
    assert not (system / "meminfo").exists()
    assert free_memory(CPU) is None
    assert 2 * 2**30 == default_budget(1)
