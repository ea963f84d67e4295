"""Searches of an audit are shared among the workers of its run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity.audit.measurements.searched_by_workers import searchers
from pytest_injectivity.errors import ModelError
from pytest_injectivity.geometry.search.device_threads import DeviceThreads
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.testing import tiny_decoder
from tests.adversaries import draw_rows
from tests.audits import audit_of
from tests.executors import InTurn
from tests.shared_searches import SMALL, same

IDS = ((1, 2, 3), (4, 5, 6), (7, 8))


@pytest.fixture
def executor() -> InTurn:
    """Workers that run in this process."""
    return InTurn()


@pytest.fixture
def target(tmp_path: Path, executor: InTurn) -> Any:
    """That of an audit with workers."""
    return audit_of(tmp_path, tiny_decoder("llama"), IDS, executor=executor).target


def test_a_search_is_shared_among_the_workers_of_the_run(target: Any, executor: InTurn) -> None:
    """They find what one process finds."""
    rows = draw_rows("twins", 200, 12)
    assert same(k_nearest(rows, 2), k_nearest(rows, 2, executor=searchers(target), limits=SMALL))
    assert executor.ran > 4


def test_a_geometry_of_an_audit_has_its_workers(tmp_path: Path) -> None:
    """But its few rows are searched here."""
    executor = InTurn()
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS, executor=executor)
    captured = len(audit.states(1)) and executor.ran
    geometry = audit.geometry(1)
    assert 3 == len(geometry.nearest.distance)
    assert captured == executor.ran
    assert isinstance(geometry._executor, type(searchers(audit.target)))
    assert geometry.take(np.array([0, 1]))._executor is geometry._executor


def test_without_workers_nobody_shares(tmp_path: Path) -> None:
    """All is searched here."""
    assert searchers(audit_of(tmp_path, tiny_decoder("llama"), IDS).target) is None


def test_workers_with_other_code_are_refused(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They might find something else."""
    codes = iter(["1", *["2"] * 9])
    monkeypatch.setattr("pytest_injectivity.store.provenance.code", lambda: next(codes))
    shared = searchers(target)
    assert shared is not None
    with pytest.raises(
        ModelError, match=r"has pytest-injectivity 2 and this process .* 1: let all"
    ):
        next(shared.map(abs, [1]))


@pytest.mark.parametrize(("count", "kind"), [(1, type(None)), (2, DeviceThreads)])
def test_gpus_that_share_a_model_share_its_searches(
    target: Any, count: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One alone searches faster than rows are sent to a worker."""
    devices = tuple(torch.device("cuda", at) for at in range(count))
    monkeypatch.setattr(type(target.kept), "devices", devices)
    assert isinstance(searchers(target), kind)
