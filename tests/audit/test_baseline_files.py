import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity import Audit, AuditConfig, GateFailure, OptionError, Status, Verdict
from pytest_injectivity.audit.baseline_files import Baseline, file_name, model_name
from pytest_injectivity.core.strict_json import build
from pytest_injectivity.results.saved_runs import Stamp, read_recorded
from pytest_injectivity.results.summary import RunSummary
from pytest_injectivity.testing import plant_nan, save_checkpoint, tiny_decoder
from tests.audits import few_noise_prompts
from tests.recordings import RUN, report

IDS = [[at, at + 1, 9] for at in range(8)]
STAMP = Stamp.of(build(RunSummary, RUN))

Make = Callable[..., Audit]


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise floor of three prompts says as much about tiny models as that of sixteen."""
    few_noise_prompts(monkeypatch, 3)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and prompts."""
    folder = tmp_path_factory.mktemp("things")
    save_checkpoint(tiny_decoder(layers=2), folder / "model")
    save_checkpoint(plant_nan(tiny_decoder(layers=2), 2), folder / "nan")
    for name, ids in (("prompts", IDS), ("fewer", IDS[:7]), ("others", [*IDS[:7], [40, 2, 3]])):
        rows = [json.dumps({"ids": one}) for one in ids]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def make(things: Path, tmp_path: Path) -> Make:
    """An audit with a baseline folder of the test's own."""

    def make(model: str = "model", prompts: str = "prompts", **config: Any) -> Audit:
        paths = {"model": str(things / model), "prompts": str(things / f"{prompts}.jsonl")}
        # One store for all tests: what is tested is what becomes of the numbers.
        kept = {"baseline": str(tmp_path / "baselines"), "cache_dir": str(things / "store")}
        own = {name: config.pop(name) for name in ("watcher",) if name in config}
        return Audit(AuditConfig(**{**paths, **kept, "device": "cpu", **config}), **own)

    return make


@pytest.fixture
def record(make: Make) -> Callable[..., Path]:
    """Records a baseline and says where it is."""

    def record(layer: Any = None, bits: Any = None, **config: Any) -> Path:
        audit = make(update_baseline=True, **config)
        audit.assert_matches_baseline(layer, bits=bits)
        audit.baseline.update()
        return audit.baseline.path

    return record


Record = Callable[..., Path]


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


class Listener:
    """Keeps what is announced."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def announce(self, sentence: str) -> None:
        """Keep it."""
        self.heard.append(sentence)

    def progress(self, _label: str, _total: int) -> Any:
        """Show nothing."""
        return nullcontext(lambda _done: None)


@pytest.mark.parametrize("tolerance", [None, 0.0])
def test_what_was_recorded_passes(make: Make, record: Record, tolerance: float | None) -> None:
    """The same numbers again, at any tolerance: every layer, with the one that moved most."""
    record()
    verdict = make().check_matches_baseline(tolerance=tolerance)
    assert Status.PASS is verdict.status
    assert ["layer01", "layer02", "norm"] == [reason.where for reason in verdict.reasons]
    assert 0 == len(verdict.notes)
    figures = verdict.reasons[0].figures
    assert pytest.approx(figures["margin_q.was"], rel=1e-5) == figures["margin_q.now"]


def test_a_missing_baseline_fails_and_writes_nothing(make: Make, tmp_path: Path) -> None:
    """The verdict names the file and the command that makes it; nothing is measured for it."""
    audit = make()
    verdict = audit.check_matches_baseline()
    assert Status.FAIL is verdict.status
    assert "FAIL matches_baseline layer01: no baseline is recorded (+2 more)" == verdict.first_line
    assert f"there is no {tmp_path / 'baselines' / 'model--prompts.jsonl.json'}" in verdict.text
    assert "--injx-update-baseline" in verdict.text
    assert f"--injx-baseline={tmp_path / 'baselines'}" in verdict.text
    assert [] == list(tmp_path.iterdir())
    assert () == audit.measurements.measured


def _scale(path: Path, name: str, factor: float, layer: str = "layer02") -> float:
    """Makes as if a number had been something else; returns what it was."""
    numbers = json.loads(path.read_text())["layers"][layer]
    _edit(path, lambda plain: plain["layers"][layer].update({name: numbers[name] * factor}))
    return float(numbers[name])


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        *((name, 1.2) for name in ("margin", "margin_q", "colipschitz", "colipschitz_q")),
        ("mean_norm", 1.2),
        ("median_norm", 0.8),
        ("noise", 0.3),
    ],
)
def test_a_number_that_got_worse_fails_its_layer(
    make: Make, record: Record, name: str, factor: float
) -> None:
    """Named with layer, was, is and what is allowed; the tolerance that it says passes does."""
    path = record()
    was = _scale(path, name, factor)
    audit = make()
    verdict = audit.check_matches_baseline()
    assert ["layer02"] == [reason.where for reason in verdict.failing]
    (reason,) = verdict.failing
    assert reason.quantity.startswith(f"{name} was ")
    assert pytest.approx(was, rel=1e-5) == reason.value
    assert verdict.first_line.startswith(f"FAIL matches_baseline layer02: {name}"[:40])
    assert f"{name} {reason.quantity.split()[2].rstrip(',')} -> " in reason.evidence[0]
    assert f"allowed {reason.relation} " in reason.evidence[0]
    needed = json.loads(reason.would_pass.removeprefix("tolerance=").replace("'", '"'))
    assert {name} == set(needed)
    assert audit.check_matches_baseline(tolerance=needed).passed
    smaller = {name: needed[name] - 2e-4}
    assert not audit.check_matches_baseline(tolerance=smaller).passed


def test_a_collision_fails(make: Make, record: Record) -> None:
    """One more than recorded, whatever the tolerance of the others; near fractions likewise."""
    path = record()
    _edit(path, lambda plain: plain["layers"]["norm"].update(collisions=0, not_finite=0))
    audit = make()
    numbers = audit.layer_summary("norm").with_numbers(collisions=1, near_fractions={"0.01": 0.5})
    audit.measurements.layer_summary = lambda *_: numbers  # type: ignore[method-assign]
    verdict = audit.check_matches_baseline("norm", tolerance=10.0)
    assert Status.FAIL is verdict.status
    assert "collisions 0 -> 1, allowed <= 0 (tolerance 0)" in verdict.text
    assert "near_fractions 0.01 0 -> 0.5" in verdict.text
    assert "would have passed: no tolerance" in verdict.text


def test_all_layers_that_got_worse_are_named(make: Make, record: Record) -> None:
    """Not the first alone."""
    path = record()
    for layer in ("layer01", "norm"):
        _scale(path, "margin_q", 2.0, layer)
    assert ["layer01", "norm"] == [one.where for one in make().check_matches_baseline().failing]


def test_a_layer_that_is_not_recorded_fails(make: Make, record: Record) -> None:
    """A gate that lost its numbers is no gate; so do bits that were not recorded."""
    record(layer=[1, 2])
    verdict = make().check_matches_baseline("all")
    assert ["norm"] == [reason.where for reason in verdict.failing]
    assert "the baseline does not have norm" in verdict.first_line
    assert make().check_matches_baseline([1, 2]).passed
    rounded = make().check_matches_baseline(1, bits=4)
    assert "the baseline does not have layer01 rounded to 4" in rounded.first_line


def test_a_model_that_rounds_as_it_runs_has_a_baseline_of_its_own(
    make: Make, record: Record
) -> None:
    """Its numbers are others, and a file that is named itself is refused for them."""
    plain, rounded = record(), record(activation_bits=5)
    assert "model--activations-5--prompts.jsonl.json" == rounded.name
    assert make(activation_bits=5).check_matches_baseline().passed
    with pytest.raises(OptionError, match="activations none, here 5"):
        make(activation_bits=5, baseline=str(plain)).check_matches_baseline()


def test_rounded_states_are_recorded_under_their_own_name(make: Make, record: Record) -> None:
    """And compared with nothing else."""
    path = record(layer=1, bits=4)
    assert ["layer01 rounded to 4"] == list(read_recorded(path).layers)
    assert make().check_matches_baseline(1, bits=4).passed
    assert not make().check_matches_baseline(1).passed
    _scale(path, "margin_q", 3.0, "layer01 rounded to 4")
    assert "at 4 bits was " in make().check_matches_baseline(1, bits=4).first_line


def test_a_number_that_can_no_longer_be_measured_fails(make: Make, record: Record) -> None:
    """As when rows are not finite; a number that somebody took out of the file is not compared."""
    path = record()
    audit = make()
    lost = audit.layer_summary("norm").with_numbers(noise=None)
    audit.measurements.layer_summary = lambda *_: lost  # type: ignore[method-assign]
    verdict = audit.check_matches_baseline("norm")
    assert "noise was " in verdict.first_line
    assert "is none" in verdict.first_line
    assert "it was recorded and cannot be measured any more" in verdict.text
    _edit(path, lambda plain: plain["layers"]["norm"].pop("noise"))
    again = make()
    again.layer_summary = lambda *_: lost  # type: ignore[method-assign]
    assert again.check_matches_baseline("norm").passed


def test_nan_fails(make: Make, record: Record) -> None:
    """Of a number, and of rows: the record had all of them finite."""
    record()
    audit = make()
    odd = audit.layer_summary("norm").with_numbers(margin_q=math.nan)
    audit.measurements.layer_summary = lambda *_: odd  # type: ignore[method-assign]
    verdict = audit.check_matches_baseline("norm", tolerance=1e9)
    assert Status.FAIL is verdict.status
    assert "margin_q" in verdict.first_line


def test_rows_that_are_not_finite_fail(make: Make, record: Record, things: Path) -> None:
    """A checkpoint that became NaN is held against the record of the one that was not."""
    path = record()
    audit = make("nan", baseline=str(path))
    verdict = audit.check_matches_baseline(tolerance=1e9)
    assert ["layer02", "norm"] == [reason.where for reason in verdict.failing]
    assert "not_finite 0 -> 8" in verdict.text
    assert things.exists()


def test_what_is_not_finite_is_not_recorded(make: Make) -> None:
    """Nothing could be compared with it."""
    audit = make("nan", update_baseline=True)
    verdict = audit.check_matches_baseline()
    assert ["layer02", "norm"] == [reason.where for reason in verdict.failing]
    assert "not recorded: 8 rows are not finite" in verdict.first_line


def test_a_stale_baseline_passes_and_is_announced(make: Make, record: Record) -> None:
    """What is better than recorded by more than the tolerance: by a hair it is not."""
    path = record()
    _scale(path, "margin_q", 0.5)
    listener = Listener()
    verdict = make(watcher=listener).check_matches_baseline()
    assert Status.PASS is verdict.status
    (said,) = [line for line in listener.heard if "stale" in line]
    assert said in verdict.notes
    assert "layer02 margin_q " in said
    assert "(+100 %)" in said
    assert "--injx-update-baseline" in said
    _scale(path, "margin_q", 2 * 0.995)
    listener.heard.clear()
    assert make(watcher=listener).check_matches_baseline().passed
    assert not [line for line in listener.heard if "stale" in line]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"prompts": "fewer"}, "n 8, here 7"),
        ({"prompts": "others"}, "prompt_hash "),
        ({"prompt_metric": "hamming"}, "prompt_metric levenshtein, here hamming"),
        ({"dtype": "float64"}, "dtype float32, here float64"),
        ({"seed": 3}, "seed 0, here 3"),
    ],
)
def test_numbers_of_something_else_are_refused(
    make: Make, record: Record, config: dict[str, Any], said: str
) -> None:
    """Wrong use, with what was recorded and what is here; recording it again is how it ends."""
    path = record()
    before = path.read_text()
    with pytest.raises(OptionError) as refused:
        make(**{**config, "baseline": str(path)}).check_matches_baseline()
    assert str(refused.value).startswith(f"--injx-baseline: {path} was recorded with ")
    assert said in str(refused.value)
    assert before == path.read_text()


def test_a_baseline_of_another_model_is_refused_where_names_are_equal(
    make: Make, record: Record
) -> None:
    """A file of the folder is that of a name; a file that is named itself is of whatever comes."""
    path = record()
    _edit(path, lambda plain: plain["audited"].update(model="model!"))
    with pytest.raises(OptionError, match="was recorded with model model!, here model"):
        make().check_matches_baseline()
    named = path.rename(path.with_name("released.json"))
    assert make(baseline=str(named)).check_matches_baseline().passed


def test_another_schema_is_refused(make: Make, record: Record) -> None:
    """A newer version's file is not guessed at."""
    path = record()
    _edit(path, lambda plain: plain.update(schema=99))
    with pytest.raises(OptionError, match="it has schema 99, and this version reads schema 1"):
        make().check_matches_baseline()


@pytest.mark.parametrize("keep", [0, 1, 100, -3])
def test_a_file_that_is_cut_short_is_refused(make: Make, record: Record, keep: int) -> None:
    """Never taken for a baseline with fewer layers."""
    path = record()
    path.write_text(path.read_text()[:keep])
    with pytest.raises(OptionError, match="it is damaged, cut short or no JSON"):
        make().check_matches_baseline()


def test_another_environment_is_noted(make: Make, record: Record) -> None:
    """Versions and device move last places: they are compared with, and said."""
    path = record()
    _edit(path, lambda plain: plain["audited"]["versions"].update(torch="1.0"))
    _edit(path, lambda plain: plain["audited"].update(device="cuda:0"))
    verdict = make().check_matches_baseline()
    assert verdict.passed
    assert verdict.notes[0].startswith("recorded with device cuda:0, here cpu; torch 1.0, here ")


def test_without_a_baseline_the_check_is_wrong_use(make: Make) -> None:
    """With the flag that names one."""
    with pytest.raises(OptionError, match="give --injx-baseline=DIR, or AuditConfig"):
        make(baseline=None).check_matches_baseline()
    with pytest.raises(OptionError, match=r"^--injx-update-baseline: no baseline is named"):
        AuditConfig(update_baseline=True)


@pytest.mark.parametrize(
    ("tolerance", "passes"),
    [
        (0.5, True),
        (0.2, False),
        ({"margin_q": 0.5}, True),
        ({"margin": 0.5}, False),
        ({1: 0.0, 2: 0.5, "norm": {"noise": 2.0}}, True),
        ({1: 0.5, "2:": 0.0, "norm": 0.5}, False),
        ({2: {"margin_q": 0.4}}, True),
    ],
)
def test_tolerances_differ_by_metric_and_layer(
    make: Make, record: Record, tolerance: Any, *, passes: bool
) -> None:
    """One for all, by metric, by layer, or by metric within a layer."""
    path = record()
    _scale(path, "margin_q", 1.5)  # a third less than recorded
    verdict = make().check_matches_baseline(tolerance=tolerance)
    assert passes == verdict.passed, verdict.text


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        (-1, "is no tolerance"),
        ({"margin": "x"}, "is no tolerance"),
        ({"margin": 0.1, 2: 0.1}, "names layers beside metrics"),
        ({"margn": 0.1}, "'margn'"),
        ({2: {"margn": 0.1}}, "tolerance names 'margn'"),
        ({9: 0.1}, "layer 9 is out of range"),
    ],
)
def test_tolerances_that_are_not_accepted(make: Make, tolerance: Any, message: str) -> None:
    """Before anything is measured, and in a run that records as well."""
    for audit in (make(), make(update_baseline=True)):
        with pytest.raises(ValueError, match=message):
            audit.check_matches_baseline(tolerance=tolerance)
        assert () == audit.measurements.measured


def test_the_assertion_raises_what_the_check_returns(make: Make, record: Record) -> None:
    """As every gate's."""
    assert "assert_matches_baseline" == Audit.assert_matches_baseline.__name__
    audit = make()
    with pytest.raises(GateFailure) as raised:
        audit.assert_matches_baseline()
    assert audit.verdicts[-1].text == str(raised.value)
    record()
    assert isinstance(make().assert_matches_baseline(), Verdict)


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
    """Old and new by layer and metric; layers that come and go; nothing where nothing does."""
    path = record()
    clean = path.read_text()
    audit = make(update_baseline=True)
    audit.check_matches_baseline()
    (line,) = audit.baseline.update()
    assert line.endswith("; nothing changed")
    assert clean == path.read_text()
    _scale(path, "margin_q", 0.5)
    _edit(path, lambda plain: plain["layers"].pop("norm"))
    _edit(path, lambda plain: plain["layers"].update(layer07={"margin": 1.0}))
    _edit(path, lambda plain: plain["audited"].update(n=900))
    wrote, *lines = audit.baseline.update()
    assert wrote.endswith("; n was 900, is 8")
    assert ["layer02", "layer07", "norm"] == [line.partition(":")[0] for line in lines]
    assert lines[0].startswith("layer02: margin_q ")
    assert lines[0].endswith("(+100 %)")
    assert "layer07: gone from the baseline: this run did not measure it" == lines[1]
    assert "norm: new" == lines[2]
    assert clean == path.read_text()


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
