"""Audits whose releases workers attack: the results of one process, and what stays in this one."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import RayWorkers
from pytest_injectivity.audit.releases import release_evaluation
from pytest_injectivity.core.executor import Executor
from pytest_injectivity.privacy.evaluation.cases import AttackSettings
from pytest_injectivity.privacy.evaluation.results import ReleaseResult
from pytest_injectivity.privacy.releases.custom import CustomRelease
from pytest_injectivity.store.codec import to_bytes
from pytest_injectivity.testing import tiny_decoder
from tests.audits import audit_of
from tests.executors import InTurn

IDS = [(at, 3 * at % 40, 7, at % 5) for at in range(4)]
SIZE: dict[str, Any] = {"prompts": 2, "tokens": 2, "free_running": 0, "practice": 0}


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> InTurn:
    """Workers; each prompt is attacked by itself, as where a model is large."""
    small = partial(AttackSettings, cached_bytes=1)
    monkeypatch.setattr(release_evaluation, "AttackSettings", small)
    return InTurn()


def untimed(found: ReleaseResult) -> bytes:
    """All but times, to the last bit."""
    attacks = tuple(replace(one, seconds=0.0) for one in found.attacks)
    return to_bytes(replace(found, attacks=attacks, seconds=0.0))


def found(folder: Path, executor: Executor | None) -> list[bytes]:
    """What is read of a noisy release."""
    store = str(folder / f"{executor is None}")
    audit = audit_of(folder, tiny_decoder("llama"), IDS, executor=executor, cache_dir=store)
    texts = ["gaussian(sigma=0.5 rel)@2"]
    return list(map(untimed, audit.exposures(texts, **SIZE)))


def test_releases_are_attacked_as_in_one_process(tmp_path: Path, executor: InTurn) -> None:
    """A prompt each, and what was read is judged by one of them."""
    assert found(tmp_path, None) == found(tmp_path, executor)
    assert 2 + 1 == executor.ran


@pytest.mark.slow
@pytest.mark.usefixtures("executor")
def test_processes_of_ray_attack_as_one_process(tmp_path: Path) -> None:
    """To the last bit."""
    pytest.importorskip("ray", reason="ray is not installed")
    workers = RayWorkers(2)
    assert found(tmp_path, None) == found(tmp_path, workers)
    workers.close()


def test_what_may_differ_in_another_process_stays_in_this_one(
    tmp_path: Path, executor: InTurn
) -> None:
    """A user's function, what is made of the model's gradients, and another model's attacks."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS, executor=executor)
    rounded = CustomRelease("rounded", "1", apply=lambda rows: rows.round())
    assert 2 == len(audit.exposures([rounded, "directed(sigma=0.1 rel)@1"], **SIZE))
    assert 1 == len(audit.exposures("identity@1", attacker="float64", **SIZE))
    assert 0 == executor.ran
