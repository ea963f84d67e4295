"""The audits of a process: which are made, which are unloaded."""

from typing import Any, cast

import pytest

from pytest_injectivity import AuditConfig, OptionError
from pytest_injectivity.config.run_models import RunModels
from pytest_injectivity.plugin.audits import Audits

A, B, C = (AuditConfig(model=name) for name in "abc")


class FakeAudit:
    """An audit that notes when it is unloaded."""

    def __init__(self, config: AuditConfig, name: str, told: list[str]) -> None:
        self.config = config
        self.name = name
        self._told = told

    def unload(self) -> None:
        """Note it."""
        self._told.append(self.name)


@pytest.fixture
def told() -> list[str]:
    """The names of the audits that were unloaded."""
    return []


@pytest.fixture
def audits(told: list[str]) -> Audits:
    """The audits of a run of two models."""
    models = RunModels({"a": A, "b": B}, AuditConfig())
    return Audits(models, lambda config, name: cast("Any", FakeAudit(config, name, told)))


def test_an_audit_is_made_once(audits: Audits) -> None:
    """By its name or by its config."""
    assert [] == list(audits)
    first = audits.of_model("a")
    assert first is audits.of(A)
    assert [first] == list(audits)


def test_one_model_of_the_run_is_loaded_at_a_time(audits: Audits, told: list[str]) -> None:
    """The one before is unloaded; the same again is not."""
    for name in ("a", "a", "b", "b", "a"):
        audits.of_model(name)
    assert ["a", "b"] == told


def test_an_audit_beside_the_run_leaves_its_model_loaded(audits: Audits, told: list[str]) -> None:
    """A test may compare both; of those beside it one is loaded at a time."""
    audits.of_model("a")
    audits.of(C)
    audits.of(A)
    assert [] == told
    audits.of(AuditConfig(model="d"))
    assert ["c"] == told


def test_a_name_is_of_one_audit(audits: Audits) -> None:
    """Neither of a model of the run and another config, nor of two configs."""
    audits.of(C, "mine")
    assert audits.of(C, "mine") is audits.of(C, "mine")
    for config, name in ((A, "mine"), (C, "a")):
        with pytest.raises(OptionError, match="is that of another audit of this run"):
            audits.of(config, name)
