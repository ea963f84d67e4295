"""Finished numbers: computed once by one process, read by the others, never wrong."""

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.number_keys import NumberKey, PartKey
from pytest_injectivity.geometry.keys import RowsKey
from pytest_injectivity.geometry.search.neighbors import Neighbors
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.store.journal import Journal
from pytest_injectivity.store.store import Store


@dataclass(frozen=True)
class LayerKey(NumberKey):
    """A number of a layer; those of one seed are computed together."""

    together = ("layer",)

    layer: int
    seed: int = 0


A, B = LayerKey(1, seed=1), LayerKey(2, seed=2)


def entry_of(folder: Path, code: str = "code", journal: Journal | None = None) -> Entry:
    """The one entry of a store, as a process of its own sees it."""
    return Store(folder, journal=journal).entry("key", code)


def never() -> float:
    """A number that must not be computed."""
    raise AssertionError("computed again")


def test_a_number_is_computed_once(tmp_path: Path) -> None:
    """By this process and by the next one."""
    entry = entry_of(tmp_path)
    assert 0.1 + 0.2 == entry.remember(A, lambda: 0.1 + 0.2)
    assert 0.1 + 0.2 == entry.remember(A, never)
    assert 0.1 + 0.2 == entry_of(tmp_path).remember(A, never)


def test_none_and_nan_are_numbers(tmp_path: Path) -> None:
    """What was computed is known, whatever it was."""
    entry = entry_of(tmp_path)
    assert entry.remember(A, lambda: None) is None
    assert entry.remember(A, never) is None
    entry.remember(B, lambda: math.nan)
    assert math.isnan(entry.remember(B, never))


def test_other_keys_and_other_code_are_other_numbers(tmp_path: Path) -> None:
    """A changed algorithm does not read what the old one computed."""
    entry_of(tmp_path).remember(A, lambda: 1)
    assert 2 == entry_of(tmp_path).remember(B, lambda: 2)
    assert 3 == entry_of(tmp_path, "other code").remember(A, lambda: 3)
    assert 1 == entry_of(tmp_path).remember(A, never)


def test_what_fails_is_not_remembered(tmp_path: Path) -> None:
    """The error is the caller's; the next one computes."""
    entry = entry_of(tmp_path)
    with pytest.raises(AssertionError, match="computed again"):
        entry.remember(A, never)
    assert not entry.known([A])
    assert 1 == entry.remember(A, lambda: 1)


def test_parts_are_kept_until_their_number_is_there(tmp_path: Path) -> None:
    """For whoever goes on after a kill; then they are dead weight on the disk."""
    entry = entry_of(tmp_path)

    def killed() -> int:
        entry.remember(PartKey(A, 1, 2), lambda: 1)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        entry.remember(A, killed)
    entry.remember(PartKey(B, 1, 2), lambda: 3)
    after = entry_of(tmp_path)

    def kept() -> int:
        return sum(path.is_file() for path in after.folder.rglob("numbers/**/*"))

    assert 2 == kept()
    assert 1 == after.remember(A, lambda: after.remember(PartKey(A, 1, 2), never))
    assert 2 == kept()
    assert 3 == after.remember(PartKey(B, 1, 2), never)


def test_of_numbers_computed_together_only_the_missing_are(tmp_path: Path) -> None:
    """Such as a layer that is new."""
    entry, asked = entry_of(tmp_path), []

    def compute(missing: tuple[int, ...]) -> dict[int, Interval]:
        asked.append(missing)
        return {one: Interval(one / 7, 1.0, 0.95) for one in missing}

    keys = {one: LayerKey(one) for one in (1, 2, 3)}
    entry.remember(LayerKey(2), lambda: Interval(2 / 7, 1.0, 0.95))
    expected = {one: Interval(one / 7, 1.0, 0.95) for one in keys}
    assert expected == entry.remember_each(keys, compute)
    assert expected == entry.remember_each(keys, compute)
    assert [(1, 3)] == asked


def test_numbers_of_several_works_cannot_be_asked_for_together(tmp_path: Path) -> None:
    """One lock could not keep two processes from computing the same."""
    with pytest.raises(ValueError, match="not computed together"):
        entry_of(tmp_path).remember_each({1: A, 2: B}, lambda _: {})


def test_no_keys_are_no_numbers(tmp_path: Path) -> None:
    """Nothing is computed and no lock is taken."""
    entry = entry_of(tmp_path)
    assert {} == entry.remember_each({}, lambda _: {1: never()})
    assert not list((entry.folder / "locks").iterdir())


def test_a_damaged_number_is_computed_again(tmp_path: Path) -> None:
    """Whichever byte is flipped: the same number, from a new computation."""
    entry = entry_of(tmp_path)
    value = Neighbors(np.array([0.5, 1 / 3]), np.array([1, 0]), 0)
    entry.remember(A, lambda: value)
    (path,) = entry._numbers.iterdir()
    written = path.read_bytes()
    for at in range(len(written)):
        path.write_bytes(written[:at] + bytes([written[at] ^ 0x20]) + written[at + 1 :])
        computed: list[Neighbors] = []
        found = entry.remember(A, lambda seen=computed: seen.append(value) or value)
        assert [value] == computed
        assert value.distance.tobytes() == found.distance.tobytes()
    assert written == path.read_bytes()


def test_where_numbers_came_from(tmp_path: Path) -> None:
    """Processes of one run count as one; what an earlier run computed is from the store."""
    first, same, later = Journal("first"), Journal("first"), Journal("later")
    entry_of(tmp_path, journal=first).remember(A, lambda: 1)
    entry_of(tmp_path, journal=same).remember(A, never)
    reading = entry_of(tmp_path, journal=later)
    reading.remember(A, never)
    assert ("computed", "computed") == (first.origin, same.origin)
    assert "from the store" == later.origin
    reading.remember(B, lambda: 2)
    assert "computed, in part from the store" == later.origin


COMPUTING = """
import sys, time
from pathlib import Path
from pytest_injectivity.geometry.keys import RowsKey
from pytest_injectivity.store.store import Store

def slow():
    print("computing", flush=True)
    time.sleep(1000)

Store(Path(sys.argv[1])).entry("key", "code").remember(RowsKey(1), slow)
"""


def test_who_waits_for_a_killed_process_goes_on(tmp_path: Path) -> None:
    """While it computes, others wait; when it dies, one of them computes."""
    command = [sys.executable, "-c", COMPUTING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:  # noqa: S603 - python itself
        assert other.stdout is not None
        assert "computing\n" == other.stdout.readline()
        waited: list[str] = []

        @contextmanager
        def waiting() -> Iterator[None]:
            waited.append("waited")
            other.send_signal(signal.SIGKILL)
            yield

        entry = Store(tmp_path, waiting=waiting).entry("key", "code")
        assert 7 == entry.remember(RowsKey(1), lambda: 7)
    assert ["waited"] == waited
    assert 7 == entry.remember(RowsKey(1), never)


def test_who_waits_reads_what_the_other_computed(tmp_path: Path) -> None:
    """It was missing before the wait and is there after it: it is not computed again."""
    first = entry_of(tmp_path)

    @contextmanager
    def waiting() -> Iterator[None]:
        first._write(RowsKey(1), 7)
        lock.__exit__(None, None, None)
        yield

    second = Store(tmp_path, waiting=waiting).entry("key", "code")
    lock = first.locked(RowsKey(1).work)
    lock.__enter__()
    assert 7 == second.remember(RowsKey(1), never)
