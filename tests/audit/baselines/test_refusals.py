"""Baseline files and tolerances that are refused, and what is said of another environment."""

from typing import Any

import pytest

from pytest_injectivity import AuditConfig, OptionError
from tests.audit.baselines.conftest import Make, Record, edit


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
    edit(path, lambda plain: plain["audited"].update(model="model!"))
    with pytest.raises(OptionError, match="was recorded with model model!, here model"):
        make().check_matches_baseline()
    named = path.rename(path.with_name("released.json"))
    assert make(baseline=str(named)).check_matches_baseline().passed


def test_another_schema_is_refused(make: Make, record: Record) -> None:
    """A newer version's file is not guessed at."""
    path = record()
    edit(path, lambda plain: plain.update(schema=99))
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
    edit(path, lambda plain: plain["audited"]["versions"].update(torch="1.0"))
    edit(path, lambda plain: plain["audited"].update(device="cuda:0"))
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
