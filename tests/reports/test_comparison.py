import json
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.errors import OptionError
from pytest_injectivity.reports.comparison import compare, comparison_text, worse
from pytest_injectivity.results.changes import read_tolerances
from pytest_injectivity.results.saved_runs import Recorded, read_recorded
from tests.recordings import layer, report


def _read(folder: Path, plain: dict[str, Any]) -> Recorded:
    path = folder / "some.json"
    path.write_text(json.dumps(plain))
    return read_recorded(path)


def _text(was: Recorded, now: Recorded, tolerances: Any = None, *, color: bool = False) -> str:
    layers = compare(was, now, read_tolerances(tolerances))
    return comparison_text(was, now, layers, width=100, color=color)


def test_equal_runs_have_nothing_worse(tmp_path: Path) -> None:
    """Every number was compared; the table has a row a layer and zeros."""
    run = _read(tmp_path, report())
    text = _text(run, run)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert ["+0.0", "+0.0", "0", *["+0.0"] * 5] == rows["layer01"] == rows["norm"]
    assert text.endswith("33 numbers of 3 layers compared: nothing is worse beyond the tolerance")
    assert [] == worse(compare(run, run, read_tolerances(0.0)))


def test_changes_are_in_percent_and_marked(tmp_path: Path) -> None:
    """Worse beyond the tolerance, better beyond it, and neither."""
    was = _read(tmp_path, report())
    now = _read(
        tmp_path,
        report(
            layer("layer01", margin_q=1.1875 * 0.5, collisions=3),
            layer("layer02", margin_q=1.1875 * 1.5),
            layer("norm", margin_q=1.1875 * 0.995),
        ),
    )
    text = _text(was, now)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert ["0>3◄", "-50.0◄"] == rows["layer01"][2:6:3]
    assert ["0", "+50.0+"] == rows["layer02"][2:6:3]
    assert ["0", "-0.5"] == rows["norm"][2:6:3]
    assert "layer01: collisions 0 -> 3, wants <= 0" in text
    assert "layer01: margin_q 1.188 -> 0.5938 (-50 %), wants >= 1.176" in text
    assert text.endswith("compared: 2 worse beyond the tolerance")
    assert 1 == len(worse(compare(was, now, read_tolerances({"margin_q": 0.5}))))


def test_other_models_are_compared_and_shown(tmp_path: Path) -> None:
    """What differs between them is what the table is about."""
    was = _read(tmp_path, report())
    now = _read(
        tmp_path,
        report(
            model="checkpoints/mine-4bit",
            dtype="bfloat16",
            quantized={"kind": "bnb-nf4", "bits": 4.0, "share": 1.0, "layers": "4 Linear4bit"},
            device="cuda:0",
            hidden=32,
            versions={"torch": "2.10"},
        ),
    )
    text = " ".join(_text(was, now).split())
    assert "model checkpoints/mine -> checkpoints/mine-4bit" in text
    assert "quantized none -> bnb-nf4" in text
    assert "dtype float32 -> bfloat16" in text
    assert "device cpu -> cuda:0" in text
    assert "hidden 16 -> 32" in text
    assert "torch 2.9 -> 2.10" in text
    assert "n 12" in text


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"n": 13}, "n 12 and 13"),
        ({"prompt_hash": "f" * 64}, "prompt_hash 0123456789ab and ffffffffffff"),
        ({"prompt_metric": "hamming"}, "prompt_metric levenshtein and hamming"),
        ({"seed": 1}, "seed 0 and 1"),
        ({"special_tokens": True}, "special_tokens False and True"),
    ],
)
def test_numbers_that_are_not_comparable_are_refused(
    tmp_path: Path, run: dict[str, Any], said: str
) -> None:
    """SPEC section 2: numbers with different N or prompt hashes are never compared."""
    with pytest.raises(OptionError, match=f"the runs differ in {said}"):
        compare(_read(tmp_path, report()), _read(tmp_path, report(**run)), read_tolerances(None))


def test_runs_without_a_common_layer_are_refused(tmp_path: Path) -> None:
    """Nothing would be compared."""
    was = _read(tmp_path, report(layer("layer01"), layer("layer02")))
    now = _read(tmp_path, report(layer("norm")))
    with pytest.raises(
        OptionError, match=r"no number in common: one has layer01 to layer02, the other"
    ):
        compare(was, now, read_tolerances(None))


def test_a_layer_that_is_gone_is_worse_and_a_new_one_is_not(tmp_path: Path) -> None:
    """A run that lost a layer is no green one."""
    short, long = (
        _read(tmp_path, report(*map(layer, names))) for names in (["norm"], ["layer01", "norm"])
    )
    assert ["layer01: gone: the second run did not measure it"] == worse(
        compare(long, short, read_tolerances(None))
    )
    assert [] == worse(compare(short, long, read_tolerances(None)))
    assert "–" in _text(short, long)


def test_a_number_that_is_lost_is_worse(tmp_path: Path) -> None:
    """One of a layer that is there."""
    was = _read(tmp_path, report(layer("norm")))
    now = _read(tmp_path, report(layer("norm", resolution=None)))
    assert ["norm: resolution 3.8e-05 -> none: the second run did not measure it"] == worse(
        compare(was, now, read_tolerances(None))
    )
    assert "–◄" in _text(was, now)


def test_near_fractions_have_a_column_where_there_are_any(tmp_path: Path) -> None:
    """Of those that are zero everywhere there is nothing to see."""
    was = _read(tmp_path, report(layer("norm", near_fractions={"0.01": 0.0, "0.001": 0.0})))
    now = _read(tmp_path, report(layer("norm", near_fractions={"0.01": 0.25, "0.001": 0.0})))
    text = _text(was, now)
    assert "near 0.01" in text
    assert "near 0.001" not in text
    assert "0>0.25◄" in text


def test_a_report_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    """Names from a file are shown with their control sequences escaped, whatever rich makes of them."""
    odd = "m\x1b]0;owned\x07[red]\u202e"
    run = _read(tmp_path, report(model=odd, versions={"\x1b[2J": "1"}))
    text = _text(run, _read(tmp_path, report(model="other", versions={})))
    assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert r"m\x1b]0;owned\x07[red]" in text
    assert "\x1b[" in _text(run, run, color=True)
