from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_injectivity.reports.history.figures import MOST_LINES
from pytest_injectivity.reports.history.page import MOST_RUNS, history_html
from pytest_injectivity.results.history.history import read_history
from tests.pasts import LAYERS, past_report, verdict, written
from tests.recordings import layer
from tests.reports.pages import Element, read


def _page(folder: Path, runs: int = 6, drift: float = 1.0, text: str = "") -> Element:
    """The page of runs whose last one has drifted at the norm, each with a verdict on it."""
    reports = []
    for at in range(runs):
        one = past_report(
            at,
            lambda run, label, _: drift if (run, label) == (runs - 1, "norm") else 1.0,
            model=f"mine{text}",
        )
        one["verdicts"] = [verdict("PASS")]
        one["verdicts"][0]["reasons"][0]["value"] = one["layers"][-1]["margin_q"]
        reports.append(one)
    return read(history_html(read_history([written(folder, reports)])))


def _figures(page: Element) -> dict[str, Element]:
    return {one.all("h3")[0].text: one for one in page.all("figure")}


def test_a_number_with_a_gate_has_a_line_and_its_bound(tmp_path: Path) -> None:
    """And the usual number, and what is allowed on the side that is worse."""
    figure = _figures(_page(tmp_path))["norm: margin_q"]
    looks = [one.text for one in figure.all("ul")[0].all("li")]
    assert ["margin_q", "usual", "lowest allowed", "bound of the gate"] == looks
    bound = [path for path in figure.all("path") if path.look == "line bound"]
    assert 5 == bound[-1].attributes["d"].count("L")
    (table,) = figure.all("table")
    last = [cell.text for cell in table.all("tr")[-1].all("th", "td")]
    assert ["0000000", "1.188", "1.188", "1.164", "1"] == last


def test_every_layer_is_in_a_map_of_each_number(tmp_path: Path) -> None:
    """Layers down, runs across; numbers that are zero everywhere have none."""
    figures = _figures(_page(tmp_path))
    (table,) = figures["m 1%"].all("table")
    assert [*LAYERS] == [one.text for one in table.all("thead")[0].all("th")][1:]
    assert 6 == len(table.all("tbody")[0].all("tr"))
    assert "coll." not in figures


def test_a_drift_is_red_and_dark(tmp_path: Path) -> None:
    """In the head, in a list, as a point of its line and as a cell of its map."""
    page = _page(tmp_path, drift=0.95)
    assert "masthead red" == page.all("header")[0].look
    (flags,) = (one for one in page.all("ul") if one.look == "bad")
    assert "norm: margin_q 1.188 -> 1.128 (against the usual, -5 %; allowed 2 %)" in flags.text
    figures = _figures(page)
    assert [True] == [
        "bad" in one.look for one in figures["norm: margin_q"].all("path") if "bad" in one.look
    ]
    assert ["heat h0", "heat h6"] == [
        one.look for one in figures["m 1%"].all("path") if one.look.startswith("heat")
    ]


def test_verdicts_have_a_map(tmp_path: Path) -> None:
    """Checks down, runs across; of the places that a check judged the worst, in the shades of a page."""
    reports = [past_report(at) for at in range(4)]
    reports[2]["verdicts"] = [verdict("PASS")]
    reports[3]["verdicts"] = [verdict("FAIL"), verdict("PASS", where="layer01")]
    figure = _figures(read(history_html(read_history([written(tmp_path, reports)]))))["Verdicts"]
    (table,) = figure.all("table")
    said = [row.all("td")[0].text for row in table.all("tbody")[0].all("tr")]
    assert ["–", "–", "PASS", "FAIL (1 of 2)"] == said
    looks = [one.look for one in figure.all("path")]
    assert ["heat hbad", "heat hgood", "heat hnone"] == looks


def test_a_healthy_page_is_green(tmp_path: Path) -> None:
    """Its rule is on it."""
    page = _page(tmp_path)
    assert "masthead" == page.all("header")[0].look
    assert "A number of the last run has drifted where" in page.text


@pytest.mark.parametrize("text", ["<script>alert(1)<b>", "\x1b[31m\u202e", "'\"&{{ 1 }}"])
def test_texts_of_reports_are_harmless(tmp_path: Path, text: str) -> None:
    """Markup is text, control characters are escapes, templates are not rendered."""
    page = _page(tmp_path, text=text)
    assert [] == page.all("script")
    assert not {"\x1b", "\u202e"} & set(page.text)
    assert "mine" in page.all("h2")[0].text


@pytest.mark.slow
def test_a_history_of_many_layers_stays_small(tmp_path: Path) -> None:
    """Lines of a few layers, maps of all; a page of 80 layers and 20 runs below 2 MB."""
    names = [*(f"layer{at:02d}" for at in range(1, 81)), "norm"]
    reports = []
    for at in range(20):
        one = past_report(at)
        one["layers"] = [layer(name, margin_q=0.5 if at == 19 else 1.0) for name in names]
        reports.append(one)
    text = history_html(read_history([written(tmp_path, reports)]))
    assert len(text.encode()) < 2_000_000
    titles = [title for title in _figures(read(text)) if ": " in title]
    assert MOST_LINES == len(titles)
    assert "more numbers have a bound or moved; the maps have all" in text


def test_of_many_runs_the_last_are_drawn(tmp_path: Path) -> None:
    """Judged as they are among all, and said."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    reports = [
        {
            **past_report(0),
            "origin": {"date": (start + timedelta(hours=at)).isoformat(), "commit": f"{at:040x}"},
        }
        for at in range(MOST_RUNS + 5)
    ]
    page = read(history_html(read_history([written(tmp_path, reports)])))
    assert f"the last {MOST_RUNS} are drawn" in page.text
    (table,) = _figures(page)["m 1%"].all("table")
    assert MOST_RUNS == len(table.all("tbody")[0].all("tr"))


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-300, 1.0, 1e100])
def test_numbers_of_any_size_are_drawn(tmp_path: Path, value: float) -> None:
    """A report may come from anybody."""
    reports = [past_report(at) for at in range(5)]
    for one in reports[2:]:
        one["layers"][0]["margin_q"] = value
    page = read(history_html(read_history([written(tmp_path, reports)])))
    assert "layer01: margin_q" in _figures(page)


@pytest.mark.parametrize(
    ("bound", "drawn"),
    [("nan", False), ("-inf", False), (-1.7e308, False), (0.0, True), (1e100, True)],
)
def test_bounds_of_any_size_are_drawn(tmp_path: Path, bound: object, *, drawn: bool) -> None:
    """Those that can be."""
    reports = [past_report(at) for at in range(5)]
    for one in reports:
        one["verdicts"] = [verdict("FAIL")]
        one["verdicts"][0]["reasons"][0]["bound"] = bound
    page = read(history_html(read_history([written(tmp_path, reports)])))
    assert drawn is ("bound of the gate" in _figures(page)["norm: margin_q"].text)
