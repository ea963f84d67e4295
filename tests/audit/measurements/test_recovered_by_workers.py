"""Audits whose prompts workers recover: the numbers of one process, and what is sent."""

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_injectivity import Audit
from pytest_injectivity.audit.measurements.recovered import Recovered
from pytest_injectivity.audit.measurements.recovery import Attempt, recovered
from pytest_injectivity.testing import tiny_decoder
from tests.audits import Witness, audit_of, small_samples
from tests.executors import InTurn

IDS = [(at, 7, 3, at % 5, at % 3) for at in range(12)]


def found(audit: Audit) -> Recovered:
    """What SipIt recovers of four prompts, apart from the time it took."""
    attempt = Attempt(1.0, None, prompts=4, tokens=5, policy="lens", certify=None)
    return replace(recovered(audit.measurements, 1, attempt), seconds=0.0)


def test_prompts_are_recovered_as_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same counts, by workers that load the model; this process does not."""
    small_samples(monkeypatch)
    decoder, executor, witness = tiny_decoder("llama"), InTurn(), Witness()
    alone = audit_of(tmp_path, decoder, IDS, cache_dir=str(tmp_path / "alone"))
    shared = audit_of(
        tmp_path,
        decoder,
        IDS,
        cache_dir=str(tmp_path / "shared"),
        executor=executor,
        watcher=witness,
    )
    _ = shared.measurements.resolution(1).radii
    shared.target.unload()
    assert found(alone) == found(shared)
    assert executor.ran >= 3
    assert not shared.target.loaded
    (steps,) = [steps for label, _, steps in witness.works if label == "SipIt layer01"]
    assert 8 == steps[-1]
