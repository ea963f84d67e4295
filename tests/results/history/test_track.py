from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.results.history.reading import read_reports
from pytest_injectivity.results.history.track import Track, tracks
from tests.pasts import noisy, past_report, written


def _tracks(folder: Path, *reports: dict[str, Any]) -> tuple[Track, ...]:
    return tracks(read_reports([written(folder, reports)]).runs)[0]


@pytest.mark.parametrize(
    "other",
    [
        {"n": 13},
        {"prompt_hash": "f" * 64},
        {"prompt_metric": "hamming"},
        {"seed": 1},
        {"special_tokens": True},
        {"dtype": "bfloat16"},
        {"hidden": 32},
        {"n_layers": 3},
        {"family": "llama"},
        {"model": "checkpoints/other"},
        {"quantized": {"kind": "bnb-nf4", "bits": 4.0, "share": 1.0, "layers": "4 Linear4bit"}},
    ],
)
def test_runs_that_do_not_compare_are_other_tracks(tmp_path: Path, other: dict[str, Any]) -> None:
    """Other prompts, other settings, another model."""
    found = _tracks(tmp_path, past_report(0), past_report(1), past_report(2, **other))
    assert [1, 2] == sorted(len(track.runs) for track in found)


@pytest.mark.parametrize(
    "other",
    [
        {"device": "cuda:0"},
        {"versions": {"torch": "3"}},
        {"model": "elsewhere/mine"},
        {"vocab": 256},
    ],
)
def test_machines_and_versions_do_not_part_runs(tmp_path: Path, other: dict[str, Any]) -> None:
    """What they do to the numbers is what a history is to show."""
    (track,) = _tracks(tmp_path, past_report(0), past_report(1, **other))
    assert 2 == len(track.runs)


def test_a_copy_of_a_run_is_left_out(tmp_path: Path) -> None:
    """Counted twice it would be its own evidence."""
    folder = written(tmp_path, [past_report(0), past_report(1), past_report(1)])
    ((track,), (copy,)) = tracks(read_reports([folder]).runs)
    assert 2 == len(track.runs)
    assert str(folder / "run02.json") == copy.file
    assert f"it is a copy of {folder / 'run01.json'}" == copy.why


PART = ("run", "layers", "releases", "comparisons")


def _several(**models: dict[str, Any]) -> dict[str, Any]:
    """A report of several models, made as the reports of each were."""
    common = {key: value for key, value in past_report(0).items() if key not in PART}
    parts = [{"name": name} | {key: one[key] for key in PART} for name, one in models.items()]
    return common | {"models": parts}


def test_a_run_that_differs_in_one_of_its_models_is_no_copy(tmp_path: Path) -> None:
    """What is equal in both is no reason to call the file left out."""
    one, other = past_report(0), past_report(0, noisy(0.1))
    reports = [_several(nf4=one, awq=one), _several(nf4=one, awq=other)]
    found, copies = tracks(read_reports([written(tmp_path, reports)]).runs)
    assert () == copies
    assert [("awq", 2), ("nf4", 2)] == [(track.name, len(track.runs)) for track in found]


def test_a_track_ends_where_its_model_goes_on_with_other_prompts(tmp_path: Path) -> None:
    """As soon as the new one is judged: what is red in the old one would stay red for ever."""
    old, new = [past_report(at) for at in range(4)], [past_report(at + 4, n=13) for at in range(4)]
    assert [False, False] == [one.ended for one in _tracks(tmp_path / "a", *old, *new[:3])]
    assert [True, False] == [one.ended for one in _tracks(tmp_path / "b", *old, *new)]


def test_tracks_side_by_side_do_not_end_each_other(tmp_path: Path) -> None:
    """Two sets of prompts that are audited in turn."""
    reports = [past_report(at, n=12 + at % 2) for at in range(12)]
    assert [False, False] == [one.ended for one in _tracks(tmp_path, *reports)]
