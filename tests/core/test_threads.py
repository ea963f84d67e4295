import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pytest_injectivity.core.threads import settle_threads

SCRIPT = """
import json, os, sys
from pytest_injectivity.core.threads import settle_threads
said = settle_threads(1), settle_threads(10_000), settle_threads(10_000)
import torch
print(json.dumps([said, os.environ["OMP_WAIT_POLICY"], torch.get_num_threads()]))
"""


class Torch(SimpleNamespace):
    """Torch, as far as threads go."""

    threads = 8

    def get_num_threads(self) -> int:
        """How many there are."""
        return self.threads

    def set_num_threads(self, threads: int) -> None:
        """So many from now on."""
        self.threads = threads


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    """A torch that is imported already, on 8 cores, in an environment without settings."""
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    stand_in = Torch()
    monkeypatch.setitem(sys.modules, "torch", stand_in)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    return stand_in


def test_a_fresh_process_is_settled_before_torch() -> None:
    """Policy first, in silence, then the share of a worker, said once; torch itself obeys."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_", "PYTEST"))}
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", SCRIPT], env=kept, capture_output=True, text=True, check=True
    )
    said, policy, threads = json.loads(done.stdout)
    share = "10000 workers compute with 1 thread each"
    several = share if (os.cpu_count() or 1) > 1 else None
    assert [None, several, None] == said
    assert ("PASSIVE", 1) == (policy, threads)


def test_after_torch_the_policy_is_too_late(torch: Torch) -> None:
    """OpenMP reads it when it is loaded: setting it then would only claim something."""
    assert settle_threads(1) is None
    assert "OMP_WAIT_POLICY" not in os.environ
    assert 8 == torch.threads


@pytest.mark.parametrize(("workers", "share"), [(2, 4), (3, 2), (8, 1), (100, 1)])
def test_workers_share_the_cores(torch: Torch, workers: int, share: int) -> None:
    """Rounded down, and one at the least; said in a sentence."""
    said = settle_threads(workers)
    assert f"{workers} workers compute with {share} thread{'s' if share > 1 else ''} each" == said
    assert share == torch.threads
    assert settle_threads(workers) is None


def test_fewer_threads_stay_as_they_are(torch: Torch) -> None:
    """A share is a limit, not a wish."""
    torch.threads = 2
    assert settle_threads(2) is None
    assert 2 == torch.threads


def test_what_the_user_set_stays(torch: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither policy nor number of threads is overridden, and nothing is said."""
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert settle_threads(4) is None
    assert 8 == torch.threads
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert settle_threads(1) is None
    assert "ACTIVE" == os.environ["OMP_WAIT_POLICY"]
