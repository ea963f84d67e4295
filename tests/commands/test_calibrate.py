"""``pytest-injectivity calibrate``, on tiny models."""

import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from iniconfig import IniConfig

from pytest_injectivity import Audit, AuditConfig, threshold_for
from pytest_injectivity.__main__ import main
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    double_block,
    plant_nan,
    round_weights,
    save_checkpoint,
    tiny_decoder,
)
from tests.audits import small_samples

Printed = pytest.CaptureFixture[str]

NUMBERS = ("gate_margin", "gate_colipschitz", "gate_bits")
ROWS = (
    "gate_weight_error",
    "gate_block_error",
    "gate_drift",
    "gate_kl",
    "gate_top1",
    "gate_margin_kept",
    "gate_colipschitz_kept",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a parent, of a sound child, of broken ones, and of prompts."""
    folder = tmp_path_factory.mktemp("models")

    def child() -> Decoder:
        return round_weights(tiny_decoder("gpt2"), 8)

    made = {
        "parent": tiny_decoder("gpt2"),
        "sound": child(),
        "doubled": double_block(child(), 2),
        "nan": plant_nan(child(), 2),
        "wide": tiny_decoder("gpt2", hidden=32),
    }
    for name, decoder in made.items():
        save_checkpoint(decoder, folder / name)
    draw = random.Random(0)  # noqa: S311 - prompts
    rows = [{"ids": draw.choices(range(64), k=draw.randint(4, 12))} for _ in range(120)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


FEW = ["--samples=2", "--size=30"]


def gate_of(models: Path) -> Path:
    """The ini of a gate in the folder that is current; it judges 60 of the prompts."""
    assert 0 == main(["init", f"--prompts={models / 'prompts.jsonl'}"])
    ini = Path("injectivity/pytest.ini").resolve()
    ini.write_text(ini.read_text().replace("= 1000", "= 60"))
    return ini


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    """The ini of a copy of the gate."""
    monkeypatch.chdir(tmp_path)
    small_samples(monkeypatch)
    return gate_of(models)


class Written(NamedTuple):
    """The ini of a gate before and after it was calibrated on the sound child, and what was told."""

    before: str
    ini: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Written:
    """The gate, calibrated once."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(tmp_path_factory.mktemp("written"))
        small_samples(patch)
        ini = gate_of(models)
        before = ini.read_text()
        assert 0 == main(["calibrate", str(models / "parent"), str(models / "sound"), *FEW])
    return Written(before, ini, out.getvalue(), err.getvalue())


def values(text: str) -> dict[str, str]:
    """The values of an ini, as pytest reads them."""
    return dict(IniConfig("pytest.ini", data=text)["pytest"].items())


def test_thresholds_are_written_from_a_trusted_child(written: Written, models: Path) -> None:
    """Rows for its precision, numbers for all models, and the sample that they come from."""
    before, after = values(written.before), values(written.ini.read_text())
    assert {name: after[name] for name in before if not name.startswith("gate_")} == {
        name: value for name, value in before.items() if not name.startswith("gate_")
    }
    assert ["32 float32"] * len(ROWS) == [after[name].rpartition(" ")[0] for name in ROWS]
    assert all(float(after[name]) > 0 for name in NUMBERS)
    sample = after["gate_calibration"].splitlines()
    assert f"parent {models / 'parent'} (float32)" == sample[0]
    assert f"child {models / 'sound'}: 32 float32" == sample[1]
    assert sample[2].startswith("prompts prompts.jsonl: 2 samples of 30, together [")
    assert "the gate judges 60 others" == sample[3]
    head = written.before[: written.before.index("gate_calibration")]
    assert written.ini.read_text().startswith(head)


def test_the_command_says_what_it_measures_and_what_comes_next(
    written: Written, models: Path
) -> None:
    """What was written, too."""
    assert "sound: sample 2 of 2, 30 prompts" in written.err
    assert "\ngate_drift = 32 float32 " in written.out
    assert f"\nnext: pytest injectivity --injx-model={models / 'sound'}" in written.out


def test_the_sound_child_passes_and_a_broken_one_fails(written: Written, models: Path) -> None:
    """By the thresholds, on the prompts that the gate judges."""
    drift = values(written.ini.read_text())["gate_drift"]
    judged = {}
    for name in ("sound", "doubled"):
        audit = Audit(
            AuditConfig(
                model=str(models / name),
                reference=str(models / "parent"),
                prompts=str(models / "prompts.jsonl"),
                max_prompts=60,
            )
        )
        bound = threshold_for(audit, "gate_drift", drift)
        judged[name] = audit.check_state_drift_below(relative=bound).passed
    assert {"sound": True, "doubled": False} == judged


@pytest.mark.slow
def test_children_are_made_of_the_parent(gate: Path, models: Path) -> None:
    """By dtype, and several at once; with --any the most lenient holds for others too."""
    assert 0 == main(["calibrate", str(models / "parent"), "--dtype=bfloat16", "--any", *FEW])
    found = values(gate.read_text())
    rows = found["gate_drift"].splitlines()
    assert ["16 bfloat16", "any"] == [row.rpartition(" ")[0] for row in rows]
    assert 1 == len({row.rpartition(" ")[2] for row in rows})
    # Of 16 bits it is known what they explain.
    assert "proved" == found["gate_block_error"] == found["gate_weight_error"]


@pytest.mark.slow
def test_calibrating_again_changes_nothing(written: Written, gate: Path, models: Path) -> None:
    """Comments are replaced, not added; the ini may be named instead of the suite."""
    once = written.ini.read_text()
    gate.write_text(once)
    child = [str(models / "parent"), str(models / "sound")]
    assert 0 == main(["calibrate", *child, f"--ini={gate}", *FEW])
    assert once == gate.read_text()


@pytest.mark.parametrize(
    ("child", "message"),
    [
        ("nan", "nan is no child to be trusted: FAIL block_error_below layer02"),
        pytest.param(
            "doubled",
            "doubled is no child to be trusted: FAIL block_error_below layer02",
            marks=pytest.mark.slow,
        ),
        ("wide", "hidden size 32 and 16"),
        ("parent", "comparing a model with itself proves nothing"),
        ("missing", "missing"),
    ],
)
def test_a_child_that_is_none_is_refused(
    gate: Path, models: Path, capsys: Printed, child: str, message: str
) -> None:
    """And the ini stays as it was."""
    before = gate.read_text()
    assert 4 == main(["calibrate", str(models / "parent"), str(models / child), *FEW])
    assert message in capsys.readouterr().err
    assert before == gate.read_text()


@pytest.mark.usefixtures("gate")
def test_another_model_of_the_same_shape_is_not_trusted(
    tmp_path: Path, models: Path, capsys: Printed
) -> None:
    """Its blocks make something else of the parent's states."""
    other = save_checkpoint(tiny_decoder("gpt2", seed=1), tmp_path / "other")
    assert 4 == main(["calibrate", str(models / "parent"), str(other), *FEW])
    assert "is no child to be trusted: FAIL block_error_below" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no child is given: name one you trust"),
        (["--dtype=bfloat17"], "--injx-dtype: 'bfloat17'"),
        (["--dtype=bfloat16", "--samples=0"], "--samples 0 is not accepted"),
        (["--dtype=bfloat16", "--size=-1"], "--size -1 is not accepted"),
        (["--dtype=bfloat16", "--suite=elsewhere"], "pytest-injectivity init DIR copies one"),
        (["--dtype=bfloat16", "--samples=20"], "20 samples need 8 each"),
    ],
)
def test_wrong_use_is_refused(
    gate: Path, models: Path, capsys: Printed, arguments: list[str], message: str
) -> None:
    """With exit status 4, and nothing is written."""
    before = gate.read_text()
    assert 4 == main(["calibrate", str(models / "parent"), *arguments])
    assert message in capsys.readouterr().err
    assert before == gate.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pytest]\naddopts = -q\n", "has no threshold of the quantization gate"),
        ("[tox]\ngate_drift = 1\n", "has no threshold of the quantization gate"),
        ("gate_drift = 1\n", "pytest cannot read it either"),
        ("\xff", "it is no UTF-8"),
    ],
)
def test_an_ini_that_is_no_gates_is_refused(
    tmp_path: Path, capsys: Printed, text: str, message: str
) -> None:
    """Before any model is looked at."""
    ini = tmp_path / "pytest.ini"
    ini.write_text(text, encoding="latin-1")
    assert 4 == main(["calibrate", "parent", "child", f"--ini={ini}"])
    assert message in capsys.readouterr().err
    assert text == ini.read_text(encoding="latin-1")
