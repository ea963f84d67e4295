"""A broken quantization turns the gate against the parent red, and a healthy one does not.

Twenty seeds of each, on both bases: ``./dev bench damage``.
"""

import argparse
import inspect
import json
from pathlib import Path

import pytest

from benchmarks.damage import Trial, trials, written
from tests.audits import small_samples

DAMAGES = {"scales doubled", "2-bit block", "rows merged", "healthy"}


def _check(found: list[tuple[str, str, Trial]]) -> None:
    assert DAMAGES == {damage for damage, _, _ in found}
    for damage, base, trial in found:
        assert bool(trial.red) == (damage != "healthy"), f"{damage}, {base}: {trial}"
        assert trial.expected == trial.named, f"{damage}, {base}: {trial}"


def _lines(folder: Path) -> Path:
    """Short prompts of what the shipped model was trained on, without tokenising all of it."""
    lines = [line.strip() for line in inspect.getsource(argparse).splitlines()]
    rows = [json.dumps({"text": line}) for line in dict.fromkeys(lines) if len(line) > 40]
    path = folder / "lines.jsonl"
    path.write_text("\n".join(rows))
    return path


@pytest.mark.slow
def test_each_damage_is_seen_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 4 bits, at the default thresholds: the block, or the embedding, is the first bad layer."""
    small_samples(monkeypatch)
    _check(list(trials([0], tmp_path, _lines(tmp_path), 60, bases=(4,))))


@pytest.mark.slow
def test_each_damage_is_seen_and_named_on_both_bases(tmp_path: Path) -> None:
    """Two seeds more, 200 prompts of whole documents each, 8 bits too."""
    _check(list(trials([1, 2], tmp_path, written(tmp_path, 200), 200)))
