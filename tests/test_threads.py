import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, sys
if {before}:
    import torch
from pytest_injectivity.threads import settle_threads
said = settle_threads({workers})
loaded = "torch" in sys.modules
import torch
print(json.dumps([said, os.environ.get("OMP_WAIT_POLICY"), torch.get_num_threads(), loaded]))
"""


def _settled(
    workers: int, *, before: bool = False, **environment: str
) -> tuple[str | None, str | None, int, bool]:
    """What a fresh process says, its policy, its threads, whether torch was imported for it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_", "PYTEST"))}
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", SCRIPT.format(workers=workers, before=before)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    said, policy, threads, loaded = json.loads(done.stdout)
    return said, policy, threads, loaded


def test_one_process_waits_passively_and_keeps_its_threads() -> None:
    """Said in a sentence, and torch is not imported for it."""
    said, policy, _, loaded = _settled(1)
    assert ("injectivity set OMP_WAIT_POLICY=PASSIVE", "PASSIVE", False) == (said, policy, loaded)


def test_workers_share_the_cores() -> None:
    """As many threads as there are cores for each, at least one."""
    said, policy, threads, _ = _settled(10_000)
    assert ("PASSIVE", 1) == (policy, threads)
    assert said is not None
    assert (os.cpu_count() == 1) or "1 thread(s) for each of 10000 workers" in said


def test_what_the_user_set_stays() -> None:
    """Neither policy nor number of threads is overridden, and nothing is said."""
    found = _settled(2, OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="2")
    assert (None, "ACTIVE", 2) == found[:3]


def test_after_torch_the_policy_is_too_late() -> None:
    """OpenMP reads it when it is loaded: setting it then would only claim something."""
    said, policy, _, _ = _settled(1, before=True)
    assert (None, None) == (said, policy)


@pytest.mark.parametrize("workers", [1, 2])
def test_asked_again_nothing_changes(workers: int) -> None:
    """A second audit of a process finds it settled."""
    script = SCRIPT.replace("said = ", f"settle_threads({workers}); said = ")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_", "PYTEST"))}
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", script.format(workers=workers, before=False)],
        env=kept,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[0] is None
