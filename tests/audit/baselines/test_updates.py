"""What recording a baseline writes, says and leaves alone."""

import json
from pathlib import Path

import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.results.saved_runs import read_recorded
from tests.audit.baselines.conftest import Make, Record, edit, scale
from tests.recordings import report


def test_a_first_baseline_is_said_in_one_line(make: Make, tmp_path: Path) -> None:
    """How many numbers, and where."""
    audit = make(update_baseline=True)
    verdict = audit.assert_matches_baseline()
    assert not (tmp_path / "baselines").exists()
    assert "numbers to be recorded" in verdict.reasons[0].headline
    (line,) = audit.baseline.update()
    path = tmp_path / "baselines" / "model--prompts.jsonl.json"
    assert path.is_file()
    count = sum(len(numbers) for numbers in read_recorded(path).layers.values())
    assert f"baseline {path}: recorded {count} numbers of 3 layers" == line


def test_an_update_says_what_changed(make: Make, record: Record) -> None:
    """Old and new by layer and metric, layers that are new; nothing where nothing changed."""
    path = record()
    clean = path.read_text()
    audit = make(update_baseline=True)
    audit.check_matches_baseline()
    (line,) = audit.baseline.update()
    assert line.endswith("; nothing changed")
    assert clean == path.read_text()
    scale(path, "margin_q", 0.5)
    edit(path, lambda plain: plain["layers"].pop("norm"))
    edit(path, lambda plain: plain["audited"].update(n=900))
    wrote, *lines = audit.baseline.update()
    assert wrote.endswith("; n was 900, is 8")
    assert ["layer02", "norm"] == [line.partition(":")[0] for line in lines]
    assert lines[0].startswith("layer02: margin_q ")
    assert lines[0].endswith("(+100 %)")
    assert "norm: new" == lines[1]
    assert clean == path.read_text()


def test_layers_that_were_not_measured_are_kept(make: Make, record: Record) -> None:
    """With the numbers they had, and a sentence that names them."""
    path = record()
    scale(path, "margin_q", 0.5)
    damaged = json.loads(path.read_text())["layers"]
    audit = make(update_baseline=True)
    audit.check_matches_baseline(2)
    wrote, changed, kept = audit.baseline.update()
    assert wrote.endswith("numbers of 1 layer")
    assert changed.startswith("layer02: margin_q ")
    assert "kept as recorded before, not measured in this run: layer01, norm" == kept
    layers = json.loads(path.read_text())["layers"]
    assert damaged["layer02"] != layers.pop("layer02")
    assert {name: damaged[name] for name in ("layer01", "norm")} == layers


def test_layers_of_other_prompts_are_not_mixed_with_new_ones(make: Make, record: Record) -> None:
    """A file has numbers of one N only: what it would lose is named, and nothing is written."""
    path = record()
    edit(path, lambda plain: plain["audited"].update(n=900))
    before = path.read_text()
    audit = make(update_baseline=True)
    audit.check_matches_baseline(1)
    with pytest.raises(
        OptionError, match=r"n 900, here 8, and this run did not measure layer02, norm"
    ):
        audit.baseline.update()
    assert before == path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "package", "version": "1.0"}', "it was not written by pytest-injectivity"),
        ("<<<<<<< HEAD\n", "it is damaged, cut short or no JSON"),
        (json.dumps(report()), "it is the report of a run and no baseline"),
    ],
)
def test_a_file_that_is_no_baseline_is_not_written_over(
    make: Make, tmp_path: Path, content: str, message: str
) -> None:
    """Whoever names a wrong file keeps it; told before anything is measured, and at the end."""
    path = tmp_path / "some.json"
    path.write_text(content)
    for update in (True, False):
        audit = make(baseline=str(path), update_baseline=update)
        with pytest.raises(OptionError, match=message):
            audit.check_matches_baseline()
        assert () == audit.measurements.measured
    audit = make(baseline=str(path), update_baseline=True)
    audit.baseline.to_record["norm"] = {"margin": 1.0}
    with pytest.raises(OptionError, match=message):
        audit.baseline.update()
    assert content == path.read_text()


def test_nothing_measured_is_nothing_written(make: Make, tmp_path: Path) -> None:
    """An update is of what was asked for by the check."""
    audit = make(update_baseline=True)
    audit.check_no_collisions()
    with pytest.raises(OptionError, match="no test asked for assert_matches_baseline"):
        audit.baseline.update()
    assert [] == list(tmp_path.iterdir())


def test_what_is_written_is_whole_or_the_old_one(
    make: Make, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies while it writes leaves what was there, and nothing beside it."""
    path = record()
    clean = path.read_text()
    audit = make(update_baseline=True)
    audit.check_matches_baseline(1)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        audit.baseline.update()
    assert clean == path.read_text()
    assert [path] == list(path.parent.iterdir())


def test_nothing_of_this_machine_is_in_a_baseline(record: Record, things: Path) -> None:
    """No path, no prompt, no token id; model and prompts by their names."""
    path = record(model="model")
    text = path.read_text()
    plain = json.loads(text)
    assert ("model", "prompts.jsonl") == (plain["audited"]["model"], plain["audited"]["prompts"])
    for part in things.parts[1:]:
        assert part not in text
    assert "/" not in text.replace("levenshtein/length", "")
    assert {"schema", "tool", "kind", "audited", "layers"} == set(plain)
