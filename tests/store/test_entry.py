"""Finished numbers: computed once by one process, read by the others, never wrong."""

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pytest_injectivity.geometry.search.neighbours import Neighbours
from pytest_injectivity.states.resolution import Floor
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.store.provenance import Journal
from pytest_injectivity.store.store import Store


def entry_of(folder: Path, code: str = "code", journal: Journal | None = None) -> Entry:
    """The one entry of a store, as a process of its own sees it."""
    return Store(folder, journal=journal).entry("key", code)


def never() -> float:
    """A number that must not be computed."""
    raise AssertionError("computed again")


def test_a_number_is_computed_once(tmp_path: Path) -> None:
    """By this process and by the next one."""
    entry = entry_of(tmp_path)
    assert 0.1 + 0.2 == entry.remember("three tenths", lambda: 0.1 + 0.2)
    assert 0.1 + 0.2 == entry.remember("three tenths", never)
    assert 0.1 + 0.2 == entry_of(tmp_path).remember("three tenths", never)


def test_none_and_nan_are_numbers(tmp_path: Path) -> None:
    """What was computed is known, whatever it was."""
    entry = entry_of(tmp_path)
    assert entry.remember("none", lambda: None) is None
    assert entry.remember("none", never) is None
    entry.remember("nan", lambda: math.nan)
    assert math.isnan(entry.remember("nan", never))


def test_other_names_and_other_code_are_other_numbers(tmp_path: Path) -> None:
    """A changed algorithm does not read what the old one computed."""
    entry_of(tmp_path).remember("a", lambda: 1)
    assert 2 == entry_of(tmp_path).remember("b", lambda: 2)
    assert 3 == entry_of(tmp_path, "other code").remember("a", lambda: 3)
    assert 1 == entry_of(tmp_path).remember("a", never)


def test_what_fails_is_not_remembered(tmp_path: Path) -> None:
    """The error is the caller's; the next one computes."""
    entry = entry_of(tmp_path)
    with pytest.raises(AssertionError, match="computed again"):
        entry.remember("a", never)
    assert not entry.known(["a"])
    assert 1 == entry.remember("a", lambda: 1)


def test_parts_are_kept_until_their_number_is_there(tmp_path: Path) -> None:
    """For whoever goes on after a kill; then they are dead weight on the disk."""
    entry = entry_of(tmp_path)

    def killed() -> int:
        entry.remember("a\npart 1 of 2", lambda: 1)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        entry.remember("a", killed)
    entry.remember("b\npart 1 of 2", lambda: 3)
    after = entry_of(tmp_path)

    def kept() -> int:
        return sum(path.is_file() for path in after.folder.rglob("numbers/**/*"))

    assert 2 == kept()
    assert 1 == after.remember("a", lambda: after.remember("a\npart 1 of 2", never))
    assert 2 == kept()
    assert 3 == after.remember("b\npart 1 of 2", never)


def test_of_numbers_computed_together_only_the_missing_are(tmp_path: Path) -> None:
    """Such as a layer that is new."""
    entry, asked = entry_of(tmp_path), []

    def compute(missing: tuple[int, ...]) -> dict[int, Floor]:
        asked.append(missing)
        return {one: Floor(one / 7) for one in missing}

    names = {one: f"floor {one}" for one in (1, 2, 3)}
    entry.remember("floor 2", lambda: Floor(2 / 7))
    expected = {one: Floor(one / 7) for one in names}
    assert expected == entry.remember_each("floors", names, compute)
    assert expected == entry.remember_each("floors", names, compute)
    assert [(1, 3)] == asked


def test_a_damaged_number_is_computed_again(tmp_path: Path) -> None:
    """Whichever byte is flipped: the same number, from a new computation."""
    entry = entry_of(tmp_path)
    value = Neighbours(np.array([0.5, 1 / 3]), np.array([1, 0]), 0)
    entry.remember("nearest", lambda: value)
    (path,) = entry._numbers.iterdir()
    written = path.read_bytes()
    for at in range(len(written)):
        path.write_bytes(written[:at] + bytes([written[at] ^ 0x20]) + written[at + 1 :])
        computed: list[Neighbours] = []
        found = entry.remember("nearest", lambda seen=computed: seen.append(value) or value)
        assert [value] == computed
        assert value.distance.tobytes() == found.distance.tobytes()
    assert written == path.read_bytes()


def test_where_numbers_came_from(tmp_path: Path) -> None:
    """Processes of one run count as one; what an earlier run computed is from the store."""
    first, same, later = Journal("first"), Journal("first"), Journal("later")
    entry_of(tmp_path, journal=first).remember("a", lambda: 1)
    entry_of(tmp_path, journal=same).remember("a", never)
    reading = entry_of(tmp_path, journal=later)
    reading.remember("a", never)
    assert ("computed", "computed") == (first.origin, same.origin)
    assert "from the store" == later.origin
    reading.remember("b", lambda: 2)
    assert "computed, in part from the store" == later.origin


COMPUTING = """
import sys, time
from pathlib import Path
from pytest_injectivity.store.store import Store

def slow():
    print("computing", flush=True)
    time.sleep(1000)

Store(Path(sys.argv[1])).entry("key", "code").remember("number", slow)
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
        assert 7 == entry.remember("number", lambda: 7)
    assert ["waited"] == waited
    assert 7 == entry.remember("number", never)


def test_who_waits_reads_what_the_other_computed(tmp_path: Path) -> None:
    """It was missing before the wait and is there after it: it is not computed again."""
    first = entry_of(tmp_path)

    @contextmanager
    def waiting() -> Iterator[None]:
        first._write("number", 7)
        lock.__exit__(None, None, None)
        yield

    second = Store(tmp_path, waiting=waiting).entry("key", "code")
    lock = first.locked("number")
    lock.__enter__()
    assert 7 == second.remember("number", never)
