import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.core.strict_json import LARGEST
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.history.reading import LeftOut, read_reports
from tests.pasts import dated, past, past_report, written
from tests.recordings import report


def _left_out(folder: Path) -> LeftOut:
    (one,) = read_reports([folder]).left_out
    return one


def test_reports_are_read_by_date_from_folders_below(tmp_path: Path) -> None:
    """Whatever their names are; a file that is named twice is read once."""
    for run, name in enumerate(("z", "a", "m")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(past_report(run)))
    (tmp_path / "notes.txt").write_text("no report")
    found = read_reports([tmp_path, tmp_path / "a" / "report.json"])
    assert ["z", "a", "m"] == [Path(run.file).parent.name for run in found.runs]
    assert () == found.left_out


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it is damaged, cut short or no JSON"),
        (json.dumps(past_report(0))[:-40], "it is damaged, cut short or no JSON"),
        ("[" * 100_000, "it is damaged, cut short or no JSON"),
        (b"\xff\xfe\x00", "it is damaged, cut short or no JSON"),
        ('{"tool": "pytest-injectivity", "schema": 99}', "it has schema 99"),
        ('{"tool": "pytest-injectivity", "schema": 1, "run": NaN}', "NaN is no JSON"),
        ('{"tool": "pytest-injectivity", "schema": 1, "what": 1}', "has the key 'what'"),
    ],
)
def test_a_damaged_report_is_named(tmp_path: Path, content: str | bytes, why: str) -> None:
    """With the reason, in one line; the others are read."""
    past(tmp_path, runs=2)
    (tmp_path / "bad.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    left_out = _left_out(tmp_path)
    assert (True, str(tmp_path / "bad.json")) == (left_out.damaged, left_out.file)
    assert why in left_out.why
    assert "\n" not in left_out.why
    assert 2 == len(read_reports([tmp_path]).runs)


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        ({"date": "yesterday"}, "date is 'yesterday', which is no time"),
        ({"date": "0001-01-01T00:00:00+23:59"}, "which is no time with its offset from UTC"),
        ({"date": "2026-10-01T08:00:00"}, "which is no time with its offset from UTC"),
        ({"date": "2026-10-01T08:00:00+00:00", "commit": "HEAD"}, "commit is 'HEAD'"),
        ({"date": "\x1b[31m" * 99}, r"date is '\x1b[31m"),
        ({"date": 5}, "date is 5, which is no text"),
    ],
)
def test_an_origin_that_is_none_is_damage(
    tmp_path: Path, origin: dict[str, object], why: str
) -> None:
    """A report without a place in time cannot be ordered."""
    left_out = _left_out(written(tmp_path, [{**report(), "origin": origin}]))
    assert left_out.damaged
    assert why in left_out.why
    assert "\x1b" not in left_out.why


def test_a_report_from_the_future_is_damage(tmp_path: Path) -> None:
    """It would be the newest for years."""
    date = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    left_out = _left_out(written(tmp_path, [{**report(), "origin": {"date": date}}]))
    assert left_out.damaged
    assert "it was made in the future" in left_out.why


@pytest.mark.parametrize(("number", "said"), [("nan", "nan"), ("inf", "inf"), (1e101, "1e+101")])
def test_a_number_that_is_none_is_damage(tmp_path: Path, number: object, said: str) -> None:
    """Not finite, which JSON holds as a text, or too large to be measured."""
    one = past_report(0)
    one["layers"][0]["margin_q"] = number
    left_out = _left_out(written(tmp_path, [one]))
    assert left_out.damaged
    assert f"layer01: margin_q is {said}" in left_out.why


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        ({"results": {}}, "it is no report of a run"),
        ([{"tool": "pytest-injectivity"}], "it is no report of a run"),
        ({"tool": "pytest-injectivity", "kind": "baseline"}, "it is no report of a run"),
        ({"tool": "pytest-injectivity", "kind": "decision"}, "it is no report of a run"),
        (report(), "it does not say when it was made"),
        ({**past_report(0), "complete": False}, "the run is not complete"),
        ({**past_report(0), "run": None, "layers": []}, "the run measured nothing"),
    ],
)
def test_what_is_no_report_to_compare_is_named_and_no_damage(
    tmp_path: Path, plain: Any, why: str
) -> None:
    """Other JSON files lie beside reports."""
    left_out = _left_out(written(tmp_path, [plain]))
    assert not left_out.damaged
    assert why in left_out.why


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    """It is named as too large."""
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(LARGEST + 1)
    assert "it has more than" in _left_out(tmp_path).why


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    """A pipe would wait for ever, a link to nothing has nothing to read."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere")
    left_out = read_reports([tmp_path]).left_out
    assert ["there is no such file"] * 2 == [one.why for one in left_out]


def test_a_circle_of_links_is_not_followed(tmp_path: Path) -> None:
    """Nor any link to a folder."""
    past(tmp_path, runs=1)
    (tmp_path / "again").symlink_to(tmp_path)
    assert 1 == len(read_reports([tmp_path]).runs)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_place_without_reports_is_refused(tmp_path: Path, name: str) -> None:
    """Whether it is there or not."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=name):
        read_reports([tmp_path / name])


@pytest.mark.parametrize(
    ("since", "kept"),
    [
        ("2026-10-03", 2),
        ("2026-10-01", 4),
        ("2026-12-01", 0),
        (f"{2:040x}", 2),
        (f"{1:040x}"[:7], 4),
    ],
)
def test_a_history_begins_where_it_is_told_to(tmp_path: Path, since: str, kept: int) -> None:
    """With a day, or with the first run of a commit; what is older is named."""
    found = read_reports([past(tmp_path, runs=4)], since=since)
    assert kept == len(found.runs)
    assert [f"it was made before {since}"] * (4 - kept) == [one.why for one in found.left_out]


@pytest.mark.parametrize("since", ["", "0", "yesterday", "deadbeef", "2026-13-01", "20261001"])
def test_a_beginning_that_is_none_is_refused(tmp_path: Path, since: str) -> None:
    """With what is accepted."""
    with pytest.raises(OptionError, match="is no day, such as 2026-11-30, and no run"):
        read_reports([past(tmp_path, runs=2)], since=since)


def test_runs_of_one_time_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    """So that a history is the same wherever it is read."""
    folder = written(tmp_path, [dated(report(seed=seed), 0) for seed in range(3)])
    names = [Path(run.file).name for run in read_reports([folder]).runs]
    assert ["run00.json", "run01.json", "run02.json"] == names


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    """It is no report that can be read, and the others are read."""
    past(tmp_path, runs=2)
    (tmp_path / "self.json").symlink_to("self.json")
    (tmp_path / "loop").symlink_to(".")
    assert "there is no such file" == _left_out(tmp_path).why
    assert 2 == len(read_reports([tmp_path]).runs)


def test_a_name_that_is_too_long_is_none(tmp_path: Path) -> None:
    """As any other that is not there."""
    with pytest.raises(OptionError, match="there is no such file or folder"):
        read_reports([tmp_path / ("a" * 5000)])


def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the newest report, so that what the others tell would be no answer."""
    past(tmp_path, runs=2)
    (tmp_path / "locked").mkdir()
    listed = os.scandir

    def locked(path: str) -> Any:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(OptionError, match=r"locked: it cannot be read \(Permission denied\)"):
        read_reports([tmp_path])
