from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.progress import Advance
from pytest_injectivity.plan.costs import Costs
from pytest_injectivity.results.plan import Phase


class Listening:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.foretold: list[str] = []
        self.labels: list[str] = []

    def announce(self, sentence: str) -> None:
        """Nothing is kept of it."""

    def foretell(self, sentence: str) -> None:
        """Keeps the sentence."""
        self.foretold.append(sentence)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        """Keeps the label."""
        assert total >= 0
        self.labels.append(label)
        yield lambda _done: None


@pytest.fixture
def watcher() -> Listening:
    """Keeps what it is told."""
    return Listening()


@pytest.fixture
def target(watcher: Listening) -> Target:
    """The shipped model on few prompts."""
    config = AuditConfig(prompts="builtin:random", max_prompts=4, device="cpu", no_cache=True)
    return Target(config, watcher=watcher)


def _phase(costs: Costs, seconds: float, assumed: float = 1e9) -> Phase:
    measured = costs.rates.words == "calibration"
    took = seconds if measured else assumed
    return Phase("hidden states", "4 prompts", took, shorter_by="--injx-length")


def test_a_long_phase_is_foretold(target: Target, watcher: Listening) -> None:
    """With its time by the calibration, before it begins."""
    target.foretelling.before(lambda costs: _phase(costs, 95))
    assert [
        "injectivity: hidden states: 4 prompts: about 1 min 35 s; shorter by --injx-length"
    ] == watcher.foretold


def test_it_is_foretold_once(target: Target, watcher: Listening) -> None:
    """However often the phase begins: a model is calibrated once, too."""
    for _ in range(3):
        target.foretelling.before(lambda costs: _phase(costs, 95))
    assert 1 == len(watcher.foretold)
    assert 1 == watcher.labels.count("calibration")


def test_a_short_phase_is_not_foretold(target: Target, watcher: Listening) -> None:
    """It is short on this machine, whatever it would be on a slow one."""
    target.foretelling.before(lambda costs: _phase(costs, 29))
    assert [] == watcher.foretold


def test_nothing_is_calibrated_for_what_is_short_anywhere(
    target: Target, watcher: Listening
) -> None:
    """The model need not even be loaded for it again."""
    target.foretelling.before(lambda costs: _phase(costs, 1e9, assumed=1))
    assert [] == watcher.foretold
    assert "calibration" not in watcher.labels


def test_nobody_is_told_where_nobody_listens() -> None:
    """An audit in a script has a silent watcher: nothing is calibrated."""
    target = Target(AuditConfig(no_cache=True))
    target.foretelling.before(lambda costs: pytest.fail(f"asked for {costs}"))
    assert not target.loaded
