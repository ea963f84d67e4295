import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pytest_injectivity.core.text import one_line
from pytest_injectivity.reports import markdown as report
from pytest_injectivity.reports.markdown import LIMIT
from pytest_injectivity.reports.table import Cell, Column, Table
from pytest_injectivity.results.outcome import FailedTest, Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.summary import LayerSummary, RunSummary
from pytest_injectivity.results.verdict import Reason, Status, Verdict

# GitHub's tables and strikethrough on top of CommonMark, HTML as it comes.
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HTML = {"<b>", "</b>"}
GREEN = Outcome(exit_status=0)

# Texts in which markup is not rare.
_PARTS = [
    *"|`<>*_[]()!\\#~@:&;$^-+={}\"'/. \n\r\t0a\u2028\u202e",
    *("||", "\\|", "`|`", "``", "```", "<!--", "-->", "</td>", "</details>", "<b>", "&lt;"),
    *("&#124;", "https://a.example", "www.a.example", "[a](b)", "![a](b)", "**", "__", "~~"),
    *("1. ", "- ", "> "),
    *("<script>alert(1)</script>", "<img src=x onerror=y>", "| --- |", "## ", "[^1]", "| a | b |"),
]
telling = st.lists(
    st.one_of(st.sampled_from(_PARTS), st.characters()), min_size=1, max_size=12
).map("".join)


def _run(text: str = "m") -> RunSummary:
    return RunSummary(
        model=text,
        revision=text,
        family=text,
        n_layers=2,
        hidden=16,
        vocab=256,
        dtype="float32",
        device="cpu",
        assumptions=text,
        prompts=text,
        n=12,
        prompt_hash="ab" * 32,
        shortest=1,
        longest=9,
        special_tokens=False,
        dropped={"overlong": 3},
        prompt_metric="levenshtein",
        seed=0,
        versions={},
    )


def _layer(name: str, **given: Any) -> LayerSummary:
    numbers = {"mean_norm": 2.0, "collisions": 0, "margin": 0.5, "margin_q": 1.0}
    numbers |= {"normalized_margin_q": 0.5, "resolution": 1e-5}
    return LayerSummary(name, None, 12, numbers={**numbers, **given})


def _verdict(*statuses: Status, text: str = "", reproduce: str = "pytest t.py") -> Verdict:
    reasons = tuple(
        Reason(f"layer{i:02d}", status, "margin", 0.25, 0.5, ">=", text, would_pass=text or "0.25")
        for i, status in enumerate(statuses, 1)
    )
    return Verdict("margin_above", reasons, "subject", reproduce)


def _findings(*verdicts: Verdict, text: str = "m", layers: int = 2) -> RunResults:
    measured = tuple(_layer(f"layer{i:02d}") for i in range(1, layers + 1))
    return RunResults(run=_run(text), layers=measured, verdicts=verdicts, said=(text,))


def markdown(found: RunResults, outcome: Outcome, **given: int) -> str:
    """The report of a run that ended so."""
    return report.markdown(replace(found, outcome=outcome), **given)


def write(path: Path, found: RunResults, outcome: Outcome) -> None:
    """Writes it."""
    report.write_report(path, replace(found, outcome=outcome))


def _red(*verdicts: Verdict, **given: Any) -> Outcome:
    failed = tuple(FailedTest(f"t.py::t{i}", "t.py", 1, (one,)) for i, one in enumerate(verdicts))
    return Outcome(exit_status=1, failed=failed, **given)


def _flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _flat(token.children or [])


def _shape(text: str) -> list[tuple[str, str]]:
    """What a document is made of, whatever its texts say."""
    flat = _flat(PARSER.parse(text))
    return [(one.type, one.content if "html" in one.type else "") for one in flat]


def _rows(text: str) -> list[list[str]]:
    """The cells of all tables, row by row, as a reader sees them."""
    rows: list[list[str]] = []
    inside = False
    for token in _flat(PARSER.parse(text)):
        inside = token.type == "tr_open" or (inside and token.type != "tr_close")
        if token.type == "tr_open":
            rows.append([])
        elif inside and token.type == "inline":
            seen = [one.content for one in token.children or [] if one.type == "text"]
            rows[-1].append("".join(seen))
    return rows


@given(telling)
@example("a|b")
@example("a\\|b")
@example("`|`")
@example("<b>")
@example("&#124;")
def test_a_cell_shows_what_it_was_given_and_nothing_else(text: str) -> None:
    """No text ends its cell, begins another, or becomes markup: it is one text, to the character."""
    columns = (Column("a", number=False), Column("b"))
    block = report._table("t", Table(columns, ((Cell(text), Cell("next")),)))
    tokens = PARSER.parse(block.before + block.rows[0])
    cells = [token for token in _flat(tokens) if token.type == "inline"][-2:]
    kinds = {child.type for child in cells[0].children or []}
    assert 5 == sum(token.type == "inline" for token in _flat(tokens))
    assert kinds <= {"text"}
    assert (
        one_line(text, 300).strip() == "".join(child.content for child in cells[0].children).strip()
    )
    assert "next" == cells[1].content


@given(telling)
@example("- x")
@example("1. x")
@example("--- ")
@example("    code")
def test_no_text_changes_what_the_report_is_made_of(text: str) -> None:
    """Model, revision, prompts, reasons, tolerances, commands, notes and causes stay texts."""
    assume(one_line(text).strip())

    def of(text: str) -> str:
        verdicts = (
            _verdict(Status.FAIL, Status.PASS, text=text, reproduce=f"pytest {text}"),
            Verdict("margin_above", (), "subject", "pytest b"),
        )
        outcome = _red(*verdicts, incomplete=(text,), wrong_use=(text,))
        return markdown(_findings(*verdicts, text=text), outcome)

    assert _shape(of("x")) == _shape(of(text))


def test_the_only_html_is_the_reports_own() -> None:
    """Bold for what the terminal marks, a fold for a long table."""
    findings = _findings(layers=40)
    colliding = _layer("layer01", collisions=7)
    findings = replace(findings, layers=(colliding, *findings.layers[1:]))
    html = {content for kind, content in _shape(markdown(findings, GREEN)) if "html" in kind}
    assert html
    assert {"<details><summary>Layers (40 rows)</summary>\n", "</details>\n", *HTML} >= html


def test_the_headline_of_a_green_run() -> None:
    """Colour and counts first."""
    text = markdown(_findings(_verdict(Status.PASS), _verdict(Status.PASS)), GREEN)
    assert "## ✅ Injectivity audit green: 2 of 2 verdicts PASS" == text.partition("\n")[0]
    assert "Not passed" not in text


def test_the_headline_of_a_red_run() -> None:
    """How many verdicts are red, and how many gates they failed."""
    red = _verdict(Status.PASS, Status.FAIL)
    text = markdown(_findings(red, _verdict(Status.PASS)), _red(red))
    assert text.startswith(
        "## ❌ Injectivity audit red: 1 of 2 verdicts is not PASS\n\n- 1 gate failed\n"
    )


def test_a_red_verdict_that_nobody_asserts_leaves_the_run_green() -> None:
    """It is shown and the text says why the run is green all the same."""
    text = markdown(_findings(_verdict(Status.INSUFFICIENT)), GREEN)
    assert text.startswith("## ✅ Injectivity audit green: 1 of 1 verdict is not PASS\n")
    assert "was not asserted, or was expected to fail" in text
    assert "INSUFFICIENT: " in text


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(1, incomplete=("the run was incomplete: lost gw0",)), "lost gw0"),
        (Outcome(1, incomplete=("nothing was compared: no test",)), "nothing was compared"),
        (Outcome(4, wrong_use=("OptionError: no such layer",)), "OptionError: no such layer"),
        (Outcome(2), "interrupted"),
        (Outcome(5), "no test was collected"),
        (_red(_verdict()), "1 gate failed"),
        (Outcome(1, failed=(FailedTest("a", "a", 1), FailedTest("b", "b", 1))), "2 other tests"),
    ],
)
def test_a_run_without_a_verdict_is_red_and_says_why(outcome: Outcome, expected: str) -> None:
    """There is nothing else to show."""
    text = markdown(RunResults(), outcome)
    assert text.startswith("## ❌ Injectivity audit red: no verdict\n")
    assert expected in PARSER.renderInline(text).replace("&quot;", '"')


def test_each_failing_layer_has_a_row() -> None:
    """Check, layer, what was measured and wanted, and what would have passed."""
    verdict = _verdict(Status.PASS, Status.FAIL, Status.INSUFFICIENT)
    rows = _rows(markdown(_findings(verdict), _red(verdict)))
    assert [
        ["check", "layer", "result", "would have passed"],
        ["margin_above", "layer02", "FAIL: margin 0.25, wants >= 0.5", "0.25"],
        ["margin_above", "layer03", "INSUFFICIENT: margin 0.25, wants >= 0.5", "0.25"],
    ] == rows[:3]


def test_a_value_that_is_no_number_is_shown() -> None:
    """It is a text in plain data, and fails."""
    reason = Reason("norm", Status.FAIL, "margin", float("nan"), 0.5, ">=")
    verdict = Verdict("margin_above", (reason,), "subject", "pytest")
    (_, row, *_) = _rows(markdown(_findings(verdict), _red(verdict)))
    assert ["margin_above", "norm", "FAIL: margin nan, wants >= 0.5", ""] == row


def test_what_stands_before_numbers_is_said_once_before_the_rows() -> None:
    """Escaped as every text from outside is."""
    ahead = ("config differs from the parent's: <b>eps</b> 1 (parent 2)",)
    red = [replace(_verdict(Status.FAIL), check=name, ahead=ahead) for name in ("one", "two")]
    text = markdown(_findings(*red), _red(*red))
    said = "- config differs from the parent's: &#60;b&#62;eps&#60;/b&#62; 1 (parent 2)"
    assert 1 == text.count(said)
    assert text.index(said) < text.index("### Not passed")


def test_a_check_that_compared_no_layer_has_a_row() -> None:
    """It has no reasons and is red."""
    verdict = Verdict("margin_above", (), "subject", "pytest")
    rows = _rows(markdown(_findings(verdict), _red(verdict)))
    assert "FAIL margin_above: nothing was compared" == rows[1][2]


def test_what_was_audited_is_said() -> None:
    """Model, size, dtype, prompts with their number and hash."""
    text = markdown(_findings(), GREEN)
    rows = {row[0]: row[1] for row in _rows(text) if len(row) == 2}
    assert "m at m" == rows["model"]
    assert "12 of m [abababababab], 1 to 9 tokens" in rows["prompts"]
    assert "float32 on cpu" in text


def test_the_tables_are_those_of_the_terminal() -> None:
    """The same columns and numbers, the worst layer marked, each layer once."""
    worst = _layer("norm", margin_q=0.5, normalized_margin_q=0.25)
    findings = replace(_findings(), layers=(_layer("layer01"), worst))
    table = [row for row in _rows(markdown(findings, GREEN)) if len(row) > 4]
    assert ["layer", "norm", "coll.", "resol.", "margin", "m 1%", "m/norm"] == table[0][:7]
    assert ["layer01", "2", "0", "1e-05", "0.5", "1", "0.5"] == table[1][:7]
    assert ["norm", "2", "0", "1e-05", "0.5", "0.5", "0.25◄"] == table[2][:7]


@pytest.mark.parametrize(("layers", "folded"), [(12, False), (13, True)])
def test_a_long_table_is_folded_away(layers: int, folded: bool) -> None:  # noqa: FBT001 - a parameter
    """A model of eighty layers does not bury what comes after."""
    text = markdown(_findings(layers=layers), GREEN)
    assert folded == (f"<details><summary>Layers ({layers} rows)</summary>" in text)
    assert folded == ("</details>" in text)


def test_the_commands_to_reproduce_are_those_of_the_red_verdicts() -> None:
    """Each once; of a green run the run's own."""
    verdicts = [_verdict(Status.FAIL, reproduce=f"pytest t{i}.py") for i in (1, 1, 2)]
    fence = next(
        token
        for token in PARSER.parse(markdown(_findings(*verdicts), _red(*verdicts)))
        if token.type == "fence"
    )
    assert "pytest t1.py\npytest t2.py\n" == fence.content
    green = markdown(_findings(), Outcome(0, command="pytest suite --injx-model=m"))
    assert "```\npytest suite --injx-model=m\n```" in green


def _large(failing: int) -> tuple[RunResults, Outcome]:
    verdict = _verdict(*[Status.FAIL] * failing)
    return _findings(verdict, layers=40), _red(verdict)


LARGE, LARGE_OUTCOME = _large(300)
WHOLE = markdown(LARGE, LARGE_OUTCOME)


@given(st.integers(0, len(WHOLE.encode()) + 300))
def test_the_report_keeps_to_its_limit(limit: int) -> None:
    """By whole rows, and the rows shown and those cut are all there are."""
    text = markdown(LARGE, LARGE_OUTCOME, limit=limit)
    assert len(text.encode()) <= limit
    if not text:
        assert limit < 400
        return
    assert text.startswith("## ❌ Injectivity audit red")
    assert set(text.split("\n")) - set(WHOLE.split("\n")) == {
        line for line in text.split("\n") if "cut to stay below the size limit" in line
    }
    if "### Not passed" in text:
        shown = sum(row[0] == "margin_above" for row in _rows(text))
        found = re.search(r"and ([\d,]+) more rows", text)
        cut = int(found[1].replace(",", "")) if found and shown < 300 else 0
        assert 300 == shown + cut


def test_what_is_whole_says_nothing_of_cuts() -> None:
    """A report that fits is not cut."""
    assert "cut to stay" not in WHOLE
    assert WHOLE == markdown(LARGE, LARGE_OUTCOME, limit=len(WHOLE.encode()) + 1000)


def test_the_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are made; an older report goes; nothing temporary stays."""
    path = tmp_path / "a" / "s.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "other"))
    for _ in range(2):
        write(path, _findings(), GREEN)
    assert markdown(_findings(), GREEN) == path.read_text(encoding="utf-8")
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("before", "apart"), [("", ""), ("# theirs", "\n\n"), ("# theirs\n", "\n")]
)
def test_the_steps_summary_is_added_to(
    tmp_path: Path, before: str, apart: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others wrote there stays, a blank line apart; by whatever name the file is reached."""
    path = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    path.write_text(before)
    (tmp_path / "link").symlink_to(path)
    write(tmp_path / "link", _findings(), GREEN)
    expected = before + apart + markdown(_findings(), GREEN)
    assert expected == path.read_text(encoding="utf-8")
    assert (tmp_path / "link").is_symlink()


def test_the_steps_summary_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner makes the file when somebody writes to it."""
    path = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    write(path, _findings(), GREEN)
    assert markdown(_findings(), GREEN) == path.read_text(encoding="utf-8")


def test_the_steps_summary_stays_below_githubs_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub shows nothing of a longer one: rows are cut, counting what stands there."""
    path = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    path.write_text("x" * (LIMIT - 3000) + "\n")
    write(path, LARGE, LARGE_OUTCOME)
    assert path.stat().st_size <= LIMIT
    added = path.read_text(encoding="utf-8")[LIMIT - 3000 :]
    assert "Injectivity audit red" in added
    assert "more rows, cut" in added


def test_a_full_summary_is_an_error_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte more, and GitHub would drop what others wrote."""
    path = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    path.write_text("x" * (LIMIT - 10))
    with pytest.raises(OSError, match="summary is full: it may have 1048576 bytes"):
        write(path, _findings(), GREEN)
    assert LIMIT - 10 == path.stat().st_size
