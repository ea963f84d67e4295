"""Tables, verdicts and figures in a notebook."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.reports.notebook import Shown, ShownFigure
from pytest_injectivity.reports.page.charts import LineChart, Point, Series
from pytest_injectivity.reports.page.shapes import picture
from pytest_injectivity.reports.table import Cell, Column, Table, worst_of
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.reports.pages import read

HOSTILE = "<script>alert(1)</script>\x1b[2J&'\""
texts = st.text(max_size=30) | st.just(HOSTILE)

TABLE = Table(
    (Column("layer", number=False), Column("m")),
    ((Cell("layer01"), Cell("1.5")), (Cell("norm"), worst_of("20", worst=True))),
    title="margins",
    notes=("what m is",),
)
FAILED = Reason(
    "norm",
    Status.FAIL,
    "separation margin",
    0.05,
    0.06,
    ">=",
    evidence=("closest pair: prompts 3 and 9",),
)
VERDICT = Verdict("margin_above", (FAILED,), "mine", "pytest -k margin", notes=("N = 9",))
POINTS = (Point(1.0, 0.5, 2.0), Point(2.0, bad=True))
CHART = LineChart(
    "Margins",
    "A caption.",
    "layer",
    ("layer01", "norm"),
    (Series("one", POINTS), Series("other", POINTS, "s1")),
)


def test_a_table_shows_its_cells() -> None:
    """Heading, rows, the mark of the worst and the notes; numbers at the right."""
    page = read(TABLE._repr_html_())
    assert ["layer", "m", "layer01", "1.5", "norm", "20◄"] == [
        one.text for one in page.all("th", "td")
    ]
    assert ["margins", "what m is"] == [one.text for one in page.all("caption", "p")]
    assert ["text-align:left", "text-align:right"] == [
        one.attributes["style"] for one in page.all("td")[:2]
    ]


def test_a_verdict_shows_what_failed_and_how_to_repeat_it() -> None:
    """With the evidence of what is red, as the terminal has it."""
    page = read(VERDICT._repr_html_())
    assert ["FAIL margin_above"] == [one.text for one in page.all("h4")]
    assert ["norm", "FAIL"] == [one.text for one in page.all("td")][:2]
    assert ["closest pair: prompts 3 and 9"] == [one.text for one in page.all("li")]
    assert ["pytest -k margin"] == [one.text for one in page.all("pre")]
    green = replace(VERDICT, reasons=(replace(FAILED, status=Status.PASS),))
    assert [] == read(green._repr_html_()).all("li")


def test_a_figure_is_the_pages_picture_with_its_numbers() -> None:
    """Every shape of it, a legend where there are several series, the table folded below."""
    page = read(ShownFigure(CHART)._repr_html_())
    (figure,) = page.all("figure")
    drawn = figure.all("svg")[-1]
    assert len(picture(CHART).shapes) == len(drawn.inside)
    assert ["one", "other"] == [one.text for one in figure.all("li")]
    assert ["A caption."] == [one.text for one in figure.all("figcaption")]
    assert "2" in [one.text for one in figure.all("details")[0].all("td")]


def test_every_look_of_a_figure_has_its_rule() -> None:
    """The style sheet is that of the page, for this class alone, whatever else the notebook shows."""
    (style,) = read(ShownFigure(CHART)._repr_html_()).all("style")
    rules = [one.strip() for one in style.text.split("}") if one.strip()]
    assert len(rules) > 20
    assert all(rule.startswith(".injectivity-figure") for rule in rules)
    looks = {
        word for shape in picture(CHART).shapes for word in dict(shape.attributes)["class"].split()
    }
    assert set() == {look for look in looks if f".{look}" not in style.text} - {"axis"}


def test_several_things_are_shown_below_each_other() -> None:
    """And are a tuple for whoever wants one of them."""
    both = Shown((TABLE, ShownFigure(CHART)))
    assert TABLE is both[0]
    page = read(both._repr_html_())
    assert (2, 1) == (len(page.all("table")), len(page.all("figure")))


@given(text=texts)
def test_no_text_is_markup(text: str) -> None:
    """Names of models, layers, prompts and releases come from anywhere; nothing is run."""
    table = replace(TABLE, title=text, notes=(text,), rows=((Cell(text), Cell(text, text, "bad")),))
    reason = replace(FAILED, where=text, headline=text, evidence=(text,), would_pass=text)
    verdict = replace(VERDICT, check=text, reasons=(reason,), subject=text, reproduce=text)
    chart = replace(CHART, title=text, caption=text, series=(Series(text, POINTS),) * 2)
    shown = Shown((table, verdict, ShownFigure(chart)))._repr_html_()
    page = read(shown)
    assert [] == page.all("script", "b", "img", "iframe", "link")
    assert not set(shown) & set(map(chr, (*range(32), *range(127, 160))))


@pytest.mark.parametrize(
    "thing", [TABLE, VERDICT, ShownFigure(CHART)], ids=["table", "verdict", "figure"]
)
def test_nothing_is_fetched(thing: Table | Verdict | ShownFigure) -> None:
    """A notebook is read offline, and by others."""
    shown = thing._repr_html_()
    assert "http" not in shown.replace("http://www.w3.org", "")
    assert "url(" not in shown


def test_the_style_sheet_is_cut_where_it_says_so() -> None:
    """The section on figures stands between two comments."""
    sheet = Path(__file__).parents[2] / "pytest_injectivity/reports/page/templates/style.css"
    text = sheet.read_text("utf-8")
    assert text.startswith(":root {")
    assert text.index("/* Figures. */") < text.index("/* Tables")
