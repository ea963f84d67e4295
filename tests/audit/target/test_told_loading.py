from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_injectivity.audit.target.told_loading import load_told
from pytest_injectivity.core.progress import Advance
from pytest_injectivity.models.checkpoint import resolve


class _Listening:
    def __init__(self) -> None:
        self.told: list[str] = []

    def announce(self, sentence: str) -> None:
        """Nothing is announced."""
        pytest.fail(sentence)

    def foretell(self, sentence: str) -> None:
        self.told.append(sentence)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        self.told.append(f"{label} ({total})")
        yield lambda _done: None


@pytest.mark.parametrize(("rate", "long"), [(1e5, True), (1e9, False)])
def test_a_load_is_told_of(*, rate: float, long: bool) -> None:
    """Always as progress; with its size and time before it begins where it is expected to be long."""
    watcher = _Listening()
    load_told(resolve("builtin:gpt2-stdlib"), watcher, rate=rate, device="cpu")
    assert "loading builtin:gpt2-stdlib (0)" == watcher.told[0]
    assert ["injectivity: loading: builtin:gpt2-stdlib, 4.36 MB of weights"] * long == [
        one.partition(", 100")[0] for one in watcher.told[1:]
    ]
