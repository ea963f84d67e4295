"""The same checkpoint in another precision, held against itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_injectivity import Audit, AuditConfig, OptionError
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.rows import Row
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests.audits import audit_of, small_samples

IDS = [[at, 5 * at % 64, 7, at * at % 64] for at in range(40)]


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    small_samples(monkeypatch)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Of a small model."""
    return audit_of(tmp_path, tiny_decoder(), IDS, no_cache=True)


def test_it_is_held_against_the_checkpoint_as_it_is_stored(audit: Audit) -> None:
    """In bfloat16 the states drift from the parent's by about its unit round-off, and by no less."""
    coarse = audit.in_precision(dtype="bfloat16")
    assert ("bfloat16", "float32") == (coarse.facts.dtype, coarse.reference.target.facts.dtype)
    assert audit.config.model == coarse.reference.target.config.model
    drift = coarse.check_state_drift_below("norm", 0.1).reasons[0].value
    expected = (coarse.states("norm").double() - audit.states("norm").double()).norm(dim=1)
    expected /= audit.states("norm").double().norm(dim=1)
    assert max(expected.tolist()) == pytest.approx(drift, rel=1e-9)
    assert drift > 2**-9


def test_prompts_store_and_names_are_shared(audit: Audit) -> None:
    """What one has measured the other reads, a run without cache too."""
    coarse = audit.in_precision(dtype="bfloat16")
    assert coarse.prompts is audit.prompts
    assert coarse.target.kept.store.folder == audit.target.kept.store.folder
    assert audit.name_of(3) == coarse.name_of(3)


def test_its_verdicts_are_told_with_the_audits(audit: Audit) -> None:
    """In the order they were reached; the layers in the table stay the audit's own."""
    audit.check_margin_above(1, 1e-12)
    coarse = audit.in_precision(dtype="bfloat16")
    coarse.check_state_drift_below(1, 0.5)
    news = audit.news()
    assert ["margin_above", "state_drift_below"] == [one.check for one in news.verdicts]
    assert ["float32", "bfloat16"] == [
        next(dtype for dtype in ("bfloat16", "float32") if f"({dtype}," in one.subject)
        for one in news.verdicts
    ]
    assert ["layer01"] == [layer.layer for layer in news.layers]
    assert () == news.comparisons
    assert () == audit.news().verdicts


def test_a_sweep_is_told_once(audit: Audit) -> None:
    """One of another precision too, with the audit's."""
    audit.report_sweep("by length", [])
    audit.in_precision(dtype="bfloat16").report_sweep("by bits", [])
    assert ["by length", "by bits"] == [one.name for one in audit.news().sweeps]
    assert () == audit.news().sweeps


def test_it_is_repeated_by_the_audits_own_command(audit: Audit) -> None:
    """The test makes it again; no flag does."""
    audit.target.where = "test_gate.py::test_drift[bfloat16]"
    verdict = audit.in_precision(dtype="bfloat16").check_state_drift_below(1, 1e-9)
    assert verdict.reproduce == audit.reproduce()
    assert "--injx-dtype" not in verdict.reproduce
    assert "test_drift[bfloat16]" in verdict.reproduce


def test_the_same_precision_proves_nothing(audit: Audit) -> None:
    """As stored, it is the parent."""
    with pytest.raises(OptionError, match="comparing a model with itself proves nothing"):
        audit.in_precision().check_state_drift_below(1, 0.5)
    with pytest.raises(OptionError, match="--injx-dtype: 'int8' is not accepted"):
        audit.in_precision(dtype="int8")


def test_built_in_prompts_are_tokenised_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one model, standard library and setting; another of any reads them again."""
    save_checkpoint(tiny_decoder(vocab=256, context=256), tmp_path / "model", byte_tokenizer())
    given = {"model": str(tmp_path / "model"), "cache_dir": str(tmp_path / "store")}
    read: list[int] = []

    def few(_tokenizer: object) -> Iterator[Row]:
        read.append(1)
        words = enumerate(("one", "two", "three", "four"))
        return iter([Row(f"{word} and more", Place("few", "text", at)) for at, word in words])

    state = ["first"]
    monkeypatch.setattr("pytest_injectivity.prompts.loading.stdlib_rows", few)
    monkeypatch.setattr("pytest_injectivity.prompts.stdlib.stdlib_state", lambda: state[0])
    first = Audit(AuditConfig(**given)).prompts
    again = Audit(AuditConfig(**given)).prompts
    assert (first, 1) == (again, len(read))
    assert 3 == len(Audit(AuditConfig(**given, max_prompts=3)).prompts)
    assert 2 == len(read)
    state[0] = "another Python"
    assert first == Audit(AuditConfig(**given)).prompts
    assert 3 == len(read)
