"""The names of baseline files, of models and of prompt sets in them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.audit.baseline_files import Baseline, file_name, model_name
from pytest_injectivity.core.strict_json import build
from pytest_injectivity.results.saved_runs import Stamp
from pytest_injectivity.results.summary import RunSummary
from tests.audit.baselines.conftest import Make
from tests.recordings import RUN

STAMP = Stamp.of(build(RunSummary, RUN))


@given(*[st.text(max_size=80) | st.sampled_from(["..", "/", "a/../b", "con", "C:\\x", "\0"])] * 3)
def test_the_name_of_a_file_stays_in_its_folder(model: str, kind: str, prompts: str) -> None:
    """Plain characters, no separator, not hidden, not too long: whatever the things are called."""
    name = file_name(replace(STAMP, model=model, quantized=kind, prompts=prompts))
    assert Path(name).name == name
    assert name.isascii()
    assert name == name.lower()
    assert not name.startswith((".", "-"))
    assert name.endswith(".json")
    assert len(name) < 200
    assert 2 == name.count("--")


def test_the_name_of_a_file() -> None:
    """Model, how it is rounded, prompts."""
    assert "mine--p.jsonl.json" == file_name(replace(STAMP, model="mine"))
    builtin = replace(STAMP, model="builtin:gpt2-stdlib", prompts="builtin:stdlib")
    assert "builtin-gpt2-stdlib--builtin-stdlib.json" == file_name(builtin)
    quantized = replace(STAMP, model="org/Name", quantized="compressed-tensors W4A16")
    assert "org-name--compressed-tensors-w4a16--p.jsonl.json" == file_name(quantized)
    rounded = replace(STAMP, model="mine", activations="4 asymmetric")
    assert "mine--activations-4-asymmetric--p.jsonl.json" == file_name(rounded)


def test_the_name_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it lies: a link's own name, which may be the stable one; a hub id without revision."""
    (tmp_path / "run-17").mkdir()
    (tmp_path / "release").symlink_to("run-17")
    monkeypatch.chdir(tmp_path / "run-17")
    assert (
        "run-17"
        == model_name(".")
        == model_name("../run-17/")
        == model_name(str(tmp_path / "run-17"))
    )
    assert "release" == model_name("../release")
    assert "org/name" == model_name("org/name@v1.0")
    assert "builtin:gpt2-stdlib" == model_name("builtin:gpt2-stdlib")


def test_a_prompt_sets_name_has_no_path(make: Make, things: Path) -> None:
    """Also of a challenge set, which names what it is made from."""
    audit = make()
    summary = replace(audit.run_summary(), prompts=f"builtin:challenge({things}/prompts.jsonl)")
    baseline = Baseline(audit.measurements, lambda: summary)
    assert "builtin:challenge(prompts.jsonl)" == baseline.stamp.prompts
