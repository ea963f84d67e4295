import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pytest_injectivity.reports.layer_table import trend_lines
from pytest_injectivity.reports.terminal import head_lines, summary_lines
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.decision import Decision
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.summary import Comparison, Estimate, Fall, LayerSummary, Trend
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.results.test_summary import RUN

LAYER = LayerSummary(
    "layer01",
    None,
    n=12,
    numbers={
        "not_finite": 0,
        "collisions": 0,
        "mean_norm": 4.0,
        "median_norm": 4.0,
        "margin": 1.0,
        "margin_q": 2.0,
        "normalized_margin_q": 0.5,
        "colipschitz": 0.25,
        "colipschitz_q": 0.5,
        "normalized_colipschitz_q": 0.125,
        "resolution": 1e-6,
        "near_fractions": {},
    },
)


def _findings(*layers: LayerSummary, **found: object) -> RunResults:
    ordered = tuple(sorted(layers, key=lambda layer: label_depth(layer.layer)))
    return RunResults(run=RUN, layers=ordered, **found)  # type: ignore[arg-type] # of its fields


def _rows(*layers: LayerSummary) -> dict[str, list[str]]:
    lines = summary_lines(_findings(*layers), 80, color=False)
    found = [re.fullmatch(r"(layer\d+|norm) +(\S.*)", line.strip()) for line in lines]
    return {one[1]: one[2].split() for one in found if one is not None}


def test_the_run_is_described() -> None:
    """Model, size, dtype, device, prompts, what was dropped, what is assumed."""
    text = " ".join(" ".join(summary_lines(_findings(), 200, color=False)).split())
    for part in (
        "model some/model",
        "gpt2, 2 layers, d 16, vocabulary 256, float32 on cpu",
        "12 of p.jsonl [0123456789ab], 1 to 9 tokens, without special tokens",
        "dropped: 1 duplicates",
        "assumed all hold",
        "numbers computed",
    ):
        assert part in text


def test_a_hubs_revision_is_shown() -> None:
    """A hub id alone does not say what was audited."""
    run = replace(RUN, revision="abc123", special_tokens=True)
    findings = replace(_findings(), run=run)
    text = "\n".join(summary_lines(findings, 120, color=False))
    assert "some/model at abc123" in text
    assert "with special tokens" in text


def test_layers_come_shallow_first_and_the_norm_last() -> None:
    """Whatever the order in which workers finished; 100 layers too."""
    names = ["norm", "layer10", "layer02", "layer100", "layer99"]
    rows = _rows(*(replace(LAYER, layer=name) for name in names))
    assert ["layer02", "layer10", "layer99", "layer100", "norm"] == list(rows)


def test_the_worst_of_a_column_is_marked() -> None:
    """Smallest normalized margin and constant, most collisions; each by its own layer."""
    rows = _rows(
        replace(LAYER, layer="layer01").with_numbers(collisions=3),
        replace(LAYER, layer="layer02").with_numbers(normalized_margin_q=0.25),
        replace(LAYER, layer="norm").with_numbers(normalized_colipschitz_q=0.0625),
    )
    marks = {
        name: [at for at, cell in enumerate(cells) if "◄" in cell] for name, cells in rows.items()
    }
    assert {"layer01": [1], "layer02": [5], "norm": [7]} == marks


def test_equal_values_have_no_worst() -> None:
    """A mark would point at nothing; so would one in a table of one layer."""
    for layers in ([LAYER], [LAYER, replace(LAYER, layer="norm")]):
        assert "◄" not in str(_rows(*layers))


def test_what_was_not_measured_is_a_dash() -> None:
    """And does not count as the worst."""
    lost = LayerSummary("layer02", None, 0, numbers={"not_finite": 12})
    rows = _rows(LAYER, lost)
    assert "◄" not in str(rows)
    lines = summary_lines(_findings(LAYER, lost), 80, color=False)
    assert any("layer02 (12 not" in line and 8 == line.count("–") for line in lines)


def test_rounded_layers_have_a_table_of_their_own() -> None:
    """Collisions, and what is left of margin and constant in percent of the unrounded ones."""
    rounded = replace(LAYER, bits=4).with_numbers(
        collisions=7, margin_q=1.0, colipschitz_q=0.45, resolution=None
    )
    text = "\n".join(summary_lines(_findings(LAYER, rounded), 80, color=False))
    assert re.search(r"layer01 +7 50/90", text)
    assert 1 == text.count("4 bits")


def test_rounded_layers_without_their_plain_ones_do_not_crash() -> None:
    """There is nothing to compare them with."""
    rounded = replace(LAYER, bits=4)
    lines = summary_lines(_findings(rounded), 80, color=False)
    assert any(line.strip().startswith("layer01") and "–" in line for line in lines)


def _falling(layer: str, margin: float | None, constant: float | None) -> LayerSummary:
    falls = [
        None if share is None else Fall((4.0, 3.0, 2.0), share) for share in (margin, constant)
    ]
    trend = Trend((250, 500, 1000), margin_q=falls[0], colipschitz_q=falls[1])
    return replace(LAYER, layer=layer, trend=trend)


def test_one_line_says_how_the_numbers_fell() -> None:
    """By the least and the most that a doubling of the prompts left of them, and where."""
    layers = _falling("layer01", 0.91, 0.8), _falling("norm", 0.972, 0.75)
    margins, constants = (
        "m 1% x 0.91 (layer01) to 0.97 (norm)",
        "α 1% x 0.75 (norm) to 0.8 (layer01)",
    )
    said = f"each time the prompts doubled, 250 to 500 to 1000: {margins}; {constants}"
    assert [said] == trend_lines(layers)
    text = " ".join(" ".join(summary_lines(_findings(*layers), 80, color=False)).split())
    assert said in text


def test_a_single_layer_has_a_single_share() -> None:
    """Nor is anything said of a number that is not known."""
    (line,) = trend_lines([_falling("layer01", None, 0.8)])
    assert line.endswith("1000: α 1% x 0.8 (layer01)")


def test_sets_of_different_sizes_are_not_counted() -> None:
    """Layers that lost rows have smaller sets."""
    smaller = _falling("norm", 0.9, 0.9)
    smaller = replace(smaller, trend=replace(smaller.trend, n=(100, 200, 400)))
    (line,) = trend_lines([_falling("layer01", 0.91, 0.8), smaller])
    assert line.startswith("each time the prompts doubled, N/4 to N/2 to N: ")


@pytest.mark.parametrize("trend", [None, Trend((), reason="too few")])
def test_without_a_trend_nothing_is_said(trend: Trend | None) -> None:
    """Small sets have none."""
    assert [] == trend_lines([replace(LAYER, trend=trend)])


def _verdict(check: str, status: Status, where: str = "norm", **more: object) -> Verdict:
    reason = Reason(where, status, "margin", 1.0, 2.0, ">=", "few words")
    reason = replace(reason, would_pass="a bound of 1")  # noqa: S106 - no password
    return Verdict(check, (reason,), "s", f"pytest -k {check}", **more)  # type: ignore[arg-type] # of its fields


def _head(*verdicts: Verdict, exit_status: int = 1) -> list[str]:
    return head_lines(verdicts, Outcome(exit_status), 80, color=False)


def test_the_summary_begins_with_what_matters() -> None:
    """Red or green, what failed, what would have passed and how to see it again; then the tables."""
    verdicts = tuple(
        _verdict(name, status)
        for name, status in zip("abc", (Status.PASS, Status.FAIL, Status.INSUFFICIENT), strict=True)
    )
    findings = _findings(LAYER, verdicts=verdicts, said=("something else",))
    lines = summary_lines(findings, 80, color=False)
    assert [
        "RED: 2 of 3 verdicts are not PASS",
        "FAIL b norm: few words",
        "INSUFFICIENT c norm: few words",
        "would have passed: a bound of 1",
        "again: pytest -k b",
        "",
    ] == lines[:6]
    assert lines[6].startswith("model ")
    assert "something else" == lines[-1]
    assert [] == _head()


def test_a_green_run_says_so_and_nothing_else() -> None:
    """There is nothing to be done."""
    assert ["GREEN: 1 of 1 verdict PASS", ""] == _head(_verdict("a", Status.PASS), exit_status=0)


def test_a_run_that_is_red_otherwise_says_why() -> None:
    """Its verdicts alone look green."""
    lines = _head(_verdict("a", Status.PASS))
    assert ["RED: 1 of 1 verdict PASS", "a test failed", ""] == lines


def test_wrong_use_is_not_told_again() -> None:
    """Its paragraph stands where pytest tells of failures."""
    lines = head_lines(
        [_verdict("a", Status.PASS)], Outcome(4, wrong_use=("no such model",)), 80, color=False
    )
    assert "something that was asked for cannot be done: see above" == lines[1]
    assert "no such model" not in " ".join(lines)


def test_a_green_run_says_why_what_failed_does_not_count() -> None:
    """A check that nobody asserts, or an expected failure."""
    lines = _head(_verdict("a", Status.FAIL), exit_status=0)
    said = "What is not PASS was not asserted, or was expected to fail."
    assert ["GREEN: 1 of 1 verdict is not PASS", said] == lines[:2]


def test_the_decision_comes_before_everything() -> None:
    """Ship or not is what a release asks."""
    findings = _findings(
        verdicts=(_verdict("a", Status.PASS),), decision=Decision(obstacles=("no evaluation",))
    )
    lines = summary_lines(findings, 80, color=False)
    assert ["NOT COMPARABLE: no evaluation", "GREEN: 1 of 1 verdict PASS"] == lines[:2]


def test_a_long_list_is_counted_by_check() -> None:
    """A screen of first lines hides the rest of the summary."""
    lines = _head(
        *(_verdict("a", Status.FAIL) for _ in range(14)), _verdict("b", Status.FAIL, model="nf4")
    )
    assert 12 == sum(line.startswith("FAIL ") for line in lines)
    assert "… and 3 more: a (2), b of nf4 (1)" == lines[13]


def test_the_first_bad_layer_and_the_part_to_blame_are_named() -> None:
    """The shallowest of all that are not PASS, whichever check was first."""
    blamed = Reason("layer02", Status.FAIL, "q", 1.0, 2.0, ">=", evidence=("blame: layer02 mlp",))
    lines = _head(
        _verdict("a", Status.FAIL), replace(_verdict("b", Status.FAIL), reasons=(blamed,))
    )
    assert "first bad layer: layer02 (b)" in lines
    assert 1 == lines.count("blame: layer02 mlp")


def test_the_head_is_behind_all_layers() -> None:
    """It is no layer, and its errors begin before it."""
    lines = _head(_verdict("a", Status.FAIL, "head"), _verdict("b", Status.FAIL, "norm"))
    assert "first bad layer: norm (b)" in lines


def test_what_was_judged_is_said_where_it_differs() -> None:
    """A gate holds a model in several precisions, and their first lines look alike."""
    half = replace(_verdict("a", Status.FAIL), subject="mine (bfloat16)")
    lines = _head(half, _verdict("a", Status.FAIL), half)
    first = "FAIL a norm: few words"
    assert ["mine (bfloat16):", first, first, "s:", first] == lines[1:6]


def test_a_command_is_not_wrapped() -> None:
    """It is copied."""
    verdict = replace(_verdict("a", Status.FAIL), reproduce=f"pytest {'x' * 300}")
    assert f"again: pytest {'x' * 300}" in _head(verdict)


def test_what_stands_before_numbers_is_said_once() -> None:
    """Escaped, however many comparisons say it; of a verdict that is PASS it is not said."""
    ahead = ("config differs from the parent's: eps\x1b[2J 1 (parent 2)",)
    red = [_verdict(name, Status.FAIL, ahead=ahead) for name in "ab"]
    lines = _head(*red, _verdict("c", Status.PASS, ahead=("other",)))
    assert r"config differs from the parent's: eps\x1b[2J 1 (parent 2)" == lines[1]
    assert ["FAIL a norm: few words", "FAIL b norm: few words"] == lines[2:4]
    assert "other" not in lines


KEPT = Estimate(0.9, 0.8, 1.1)
COMPARED = Comparison(
    "layer01",
    9,
    0,
    0,
    margin=KEPT,
    normalized_margin=KEPT,
    colipschitz=KEPT,
    normalized_colipschitz=KEPT,
    new_collisions=0,
    weight_error=0.0123,
    block_error=0.0234,
    drift_median=0.0345,
    drift_q99=0.0456,
    drift_max=0.0567,
    cosine_min=0.9999,
    resolution=1.23e-6,
    reference_resolution=1.24e-6,
)


def _parents(width: int, *failed: str) -> list[str]:
    """The lines of the summary from the table of the parent on."""
    verdicts = tuple(_verdict(check, Status.FAIL) for check in failed)
    findings = replace(
        _findings(verdicts=verdicts), comparisons=(COMPARED, replace(COMPARED, layer="norm"))
    )
    lines = summary_lines(findings, width, color=False)
    return lines[next(at for at, line in enumerate(lines) if line.startswith("layer ")) :]


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_the_parents_table_fits_the_terminal(width: int) -> None:
    """Columns are left out, and named below with where they are."""
    lines = _parents(width)
    assert width >= max(map(cell_len, lines))
    assert (width < 200) is ("--injx-report=html:PATH" in " ".join(lines))


@pytest.mark.parametrize(
    ("check", "title"),
    [
        ("state_drift_below", "drift"),
        ("margin_retained", "m kept"),
        ("colipschitz_retained", "α kept"),
    ],
)
def test_columns_of_what_failed_are_shown_first(check: str, title: str) -> None:
    """There is no room for them where all is green."""
    assert title in _parents(44, check)[0]
    assert title not in _parents(44)[0]


def test_intervals_are_shown_where_there_is_room() -> None:
    """Numbers of more columns come before intervals of fewer."""
    assert "[0.8, 1.1]" not in "".join(_parents(80)[:3])
    assert "[0.8, 1.1]" in "".join(_parents(160)[:3])


def test_sentences_alone_are_shown() -> None:
    """A report that could not be written is said even where nothing was measured."""
    assert ["not written"] == summary_lines(RunResults(said=("not written",)), 80, color=False)


@pytest.mark.parametrize(
    "name", ["[red]model[/red]", "[/]", "[bold", "a\\[b]", "m" * 300, "模型" * 40]
)
def test_names_are_no_markup(name: str) -> None:
    """Rich reads brackets as markup in plain strings; a model's name is a name."""
    run = replace(RUN, model=name, prompts=name, assumptions=name)
    findings = replace(_findings(LAYER, said=(name,)), run=run)
    text = "".join("".join(summary_lines(findings, 80, color=False)).split())
    assert text.count("".join(name.split())) >= 1


@given(st.integers(110, 200), st.floats(1e-30, 1e30), st.integers(0, 10**9))
def test_lines_fit_the_terminal(width: int, value: float, collisions: int) -> None:
    """Whatever the numbers are, where there is room for a row of them."""
    layer = LAYER.with_numbers(
        margin=value, margin_q=value, resolution=value, collisions=collisions
    )
    other = replace(layer, layer="norm").with_numbers(mean_norm=value)
    lines = summary_lines(_findings(layer, other), width, color=False)
    assert max(map(cell_len, lines)) <= width


def test_eighty_columns_hold_a_row_of_large_numbers() -> None:
    """No number is cut short: half a number is another number."""
    layer = LAYER.with_numbers(
        collisions=4_999_950_000,
        mean_norm=123456.0,
        resolution=1.234e-06,
        margin=1.234e-05,
        margin_q=1.234e-05,
        colipschitz_q=1.234e-07,
    )
    rows = _rows(layer, replace(layer, layer="norm").with_numbers(mean_norm=2.0))
    assert 8 == len(rows["layer01"]) == len(rows["norm"])
    numbers = [float(cell.rstrip("◄")) for cell in rows["layer01"]]
    expected = [123456.0, 4_999_950_000, 1.234e-06, 1.234e-05, 1.234e-05]
    assert pytest.approx(expected, rel=5e-3) == numbers[:5]
    assert "…" not in str(rows)


def test_colour_is_only_beside_the_mark() -> None:
    """Logs have none: the mark is a character."""
    layers = LAYER, replace(LAYER, layer="norm").with_numbers(normalized_margin_q=0.25)
    plain = "\n".join(summary_lines(_findings(*layers), 80, color=False))
    coloured = "\n".join(summary_lines(_findings(*layers), 80, color=True))
    assert "\x1b" not in plain
    assert "\x1b[1;31m" in coloured
    assert plain == re.sub(r"\x1b\[[\d;]*m", "", coloured)
