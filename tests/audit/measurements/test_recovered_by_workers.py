"""Audits that recover prompts in workers: the numbers of one process, and what is sent."""

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_injectivity import Audit
from pytest_injectivity.audit.measurements.recovered import Recovered
from pytest_injectivity.audit.measurements.recovery import Attempt, recovered
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.results.verdict import Verdict
from pytest_injectivity.states.external import save_states
from pytest_injectivity.testing import round_weights, tiny_decoder
from tests.audits import Witness, audit_against, audit_of, small_samples
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


def test_states_from_elsewhere_are_read_as_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are sent, each prompt's with its part."""
    small_samples(monkeypatch)
    decoder, executor = tiny_decoder("llama"), InTurn()
    states = [observe(decoder, ids, [2])[2].bfloat16() for ids in IDS[:4]]
    save_states(tmp_path / "states.safetensors", states, 2)
    alone, shared = (
        audit_of(
            tmp_path,
            decoder,
            IDS,
            states=str(tmp_path / "states.safetensors"),
            cache_dir=str(tmp_path / store),
            executor=one,
        ).check_states_recoverable()
        for store, one in (("alone", None), ("shared", executor))
    )
    assert said(alone) == said(shared)
    assert executor.ran >= 3


def test_a_parent_reads_as_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By both attacks, in workers that load the parent."""
    small_samples(monkeypatch)
    child, parent, executor = round_weights(tiny_decoder(), 5), tiny_decoder(), InTurn()
    alone, shared = (
        audit_against(tmp_path, child, parent, IDS, cache_dir=str(tmp_path / store), executor=one)
        for store, one in (("alone", None), ("shared", executor))
    )
    here, there = (one.cross_inversion(1, prompts=4, tokens=5) for one in (alone, shared))
    assert here == there
    assert executor.ran >= 4


def said(verdict: Verdict) -> list[object]:
    """All that a verdict says but the time it took."""
    return [(one.headline, one.value, one.evidence, one.figures) for one in verdict.reasons]
