import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_injectivity.errors import MissingExtra
from pytest_injectivity.reports.html import LIMIT, html, write_report
from pytest_injectivity.results.decision import Decision, JudgedRule, Kept
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.verdict import Status
from tests.reports.pages import comparison, layer, names, read, reason, red, run, several, verdict
from tests.results.test_releases import ATTACK, SUMMARY

HOSTILE = (
    "</title></style></script><script>alert(1)</script><img src=https://a.example/x onerror=b>"
    "\"'><svg onload=c>{{ 7 * 191 }}{% raw %}&lt;<!--]]>\x1b[2J\u202e##[error]x"
)
RED = verdict(reason("layer01"), reason("layer02", Status.FAIL, 0.5))
RESULTS = RunResults(
    run=run(reference="the parent"),
    layers=(layer("layer01"), layer("layer02", margin_q=0.5), layer("layer02", 4, collisions=3)),
    comparisons=(comparison("layer01"), comparison("layer02")),
    releases=(SUMMARY,),
    verdicts=(RED,),
    said=("a sentence",),
    outcome=red(RED),
)


def test_the_verdict_stands_on_top() -> None:
    """What failed, where, what would have passed and how to repeat it, before everything else."""
    page = read(html(RESULTS))
    top = page.all("dl")[0].text
    assert ["Red: 1 of 1 verdict is not PASS"] == [one.text for one in page.all("h1")]
    assert "layer02 (margin_above)" in top
    assert "a bound of at most 0.5" in top
    assert "pytest t.py::margin_above" in top


def test_a_green_run_says_so() -> None:
    """And has no section of failures."""
    green = verdict(reason("layer01"))
    page = read(html(RunResults(run=run(), verdicts=(green,), outcome=Outcome(0))))
    assert ["Green: 1 of 1 verdict PASS"] == [one.text for one in page.all("h1")]
    assert "Not passed" not in [one.text for one in page.all("h2")]


def test_many_checks_do_not_fill_a_phone() -> None:
    """The first few are named on top, all of them in the map below."""
    green = [verdict(reason("layer01"), check=f"check{at}") for at in range(9)]
    page = read(html(RunResults(run=run(), verdicts=tuple(green), outcome=Outcome(0))))
    assert "check0, check1, check2, check3 and 5 more" in page.all("dl")[0].text


def test_what_no_test_failed_by_is_told_apart() -> None:
    """A check that was looked at only does not make the run red."""
    page = read(html(replace(RESULTS, outcome=Outcome(0))))
    assert page.all("h1")[0].text.startswith("Green: 1 of 1 verdict is not PASS")
    assert "no test failed by it" in page.all("article")[0].text


def test_a_decision_is_shown_with_its_rules() -> None:
    """What was measured beside each."""
    rule = JudgedRule("verdicts: pass", Kept.NO, "1 is not PASS")
    page = read(html(replace(RESULTS, decision=Decision((rule,)))))
    assert "Decision: DO NOT SHIP" in [one.text for one in page.all("h2")]
    assert "verdicts: pass" in page.text


def test_every_figure_has_a_table_and_a_name() -> None:
    """Whoever does not see it has its numbers."""
    figures = read(html(RESULTS)).all("figure")
    bare = [
        one.text
        for one in figures
        if not (
            one.all("table")
            and one.all("figcaption")
            and one.all("svg")[-1].attributes["aria-label"]
        )
    ]
    assert len(figures) > 10
    assert [] == bare


def test_all_of_a_verdicts_evidence_is_there() -> None:
    """Folded away."""
    page = read(html(RESULTS))
    (section,) = [one for one in page.all("section") if one.attributes["id"] == "verdicts"]
    (folded,) = section.all("details")
    assert 2 == folded.text.count("closest pair: prompt 1 (abc, 3 tokens)")


def test_the_terminals_tables_are_there_by_name() -> None:
    """Each with its notes."""
    page = read(html(RESULTS))
    (section,) = [one for one in page.all("section") if one.attributes["id"] == "tables"]
    titles = [one.text for one in section.all("summary")]
    expected = ["Layers", "Against the parent", "Releases", "Attackers"]
    assert expected == [titles[0], *titles[2:]]
    assert titles[1].startswith("Activations rounded")
    assert "separation margin, minimum" in section.text


def test_a_figure_of_many_points_is_whole() -> None:
    """However long the texts of its shapes are."""
    attack = replace(ATTACK, by_position={str(at): ATTACK.tokens for at in range(16)})
    many = [replace(SUMMARY, release=f"round(bits={at})", attacks=(attack,)) for at in range(40)]
    page = html(replace(RESULTS, releases=tuple(many)))
    (cells,) = re.findall(r'<path d="([^"]*)" class="heat h2"/>', page)
    assert 16 * 40 == cells.count("z")


def test_a_verdict_is_named_whole() -> None:
    """A terminal's width cuts the first line; the page has room."""
    quantity = f"tokens read by {'an attacker, ' * 9}teacher-forced"
    failed = replace(reason("layer01", Status.FAIL), quantity=quantity)
    page = read(html(replace(RESULTS, verdicts=(verdict(failed),))))
    (section,) = [one for one in page.all("section") if one.attributes["id"] == "verdicts"]
    line = section.all("summary")[0]
    assert line.text == f"FAIL margin_above layer01: {failed.summary}"


def test_the_worst_number_of_a_column_is_no_failure() -> None:
    """It is marked, on a green page too, and not red."""
    layers = (layer("layer01"), layer("layer02", normalized_margin_q=0.1))
    page = read(html(RunResults(run=run(), layers=layers, outcome=Outcome(0))))
    assert ["worst"] == [one.look for one in page.all("td") if "◄" in one.text]


def test_pairs_are_named_by_index_and_hash() -> None:
    """In a table of their own."""
    page = read(html(RESULTS))
    (section,) = [one for one in page.all("section") if one.attributes["id"] == "pairs"]
    assert ["layer01", "layer02"] == [one.text for one in section.all("tbody")[0].all("th")]


def test_many_pairs_are_folded() -> None:
    """The first few stand open."""
    judged = verdict(*(reason(one) for one in names(9)))
    page = read(html(replace(RESULTS, verdicts=(judged,))))
    (section,) = [one for one in page.all("section") if one.attributes["id"] == "pairs"]
    assert ["4 more"] == [one.text for one in section.all("summary")]
    assert [6, 4] == [len(one.all("tr")) for one in section.all("tbody")]


def test_several_models_are_side_by_side() -> None:
    """A column of facts and a line of every figure each."""
    page = read(html(several(["nf4", "awq"])))
    facts = next(one for one in page.all("table") if one.look == "facts")
    figures = {one.all("h3")[0].text: one for one in page.all("figure") if one.all("h3")}
    margin = figures["Separation margin, 1 % quantile"]
    assert ["nf4", "awq"] == [one.text for one in facts.all("thead")[0].all("th")]
    assert ["nf4", "awq", "parent"] == [one.text for one in margin.all("ul")[0].all("li")]


def test_headings_are_in_order() -> None:
    """One of the first level, and none is left out on the way down."""
    levels = [int(one.tag[1]) for one in read(html(RESULTS)).all("h1", "h2", "h3", "h4")]
    steps = [after - before for before, after in pairwise(levels)]
    assert 1 == levels.count(1)
    assert max(steps) == 1


def test_the_page_has_its_language_and_landmarks() -> None:
    """For readers that do not see it."""
    page = read(html(RESULTS))
    assert "en" == page.all("html")[0].attributes["lang"]
    assert [1, 1, 1, 1] == [len(page.all(tag)) for tag in ("header", "main", "nav", "footer")]


def test_links_lead_to_sections_that_are_there() -> None:
    """And nowhere else."""
    page = read(html(RESULTS))
    places = [f"#{one.attributes['id']}" for one in page.all("section")]
    assert places == [one.attributes["href"] for one in page.all("a")]


@pytest.mark.parametrize("results", [RESULTS, several(["a", "b"])], ids=["one", "two"])
def test_links_are_named_as_what_they_lead_to(results: RunResults) -> None:
    """Heading by heading, of one model and of several; a decision's heading has its choice."""
    page = read(html(results))
    (nav,) = page.all("nav")
    assert [one.text for one in page.all("h2")] == [one.text for one in nav.all("a")]


def test_only_a_page_of_attacks_speaks_of_attackers() -> None:
    """What a low rate is no proof of is said where there are rates."""
    quiet = html(replace(RESULTS, releases=()))
    assert ['"private"' in html(RESULTS), '"private"' in quiet] == [True, False]


def test_the_page_forbids_everything_but_its_styles() -> None:
    """Where a text got past the escaping, nothing of it would run."""
    policy = [
        one.attributes["content"]
        for one in read(html(RESULTS)).all("meta")
        if one.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert ["default-src 'none'; style-src 'unsafe-inline'"] == policy


def _shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """What a page is made of, whatever its texts say."""
    return [(one.tag, tuple(one.attributes)) for one in read(page).all(*_tags(page))]


def _tags(page: str) -> set[str]:
    return set(re.findall(r"<([a-zA-Z][\w-]*)", page))


def hostile(text: str) -> RunResults:
    """A run whose every name and sentence ends in this text."""
    results = several([f"a{text}", f"b{text}"], text=text)
    release = replace(SUMMARY, release=f"r{text}", place=f"4{text}")
    models = tuple(replace(one, releases=(release,)) for one in results.models)
    return replace(results, models=models, wrong_use=(text,))


@cache
def _harmless() -> list[tuple[str, tuple[str, ...]]]:
    return _shape(html(hostile("-")))


@settings(max_examples=10, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>&\"'/=-! {}%#\n\x00\x1bas"), min_size=1, max_size=12))
@example(HOSTILE)
def test_no_text_changes_what_the_page_is_made_of(text: str) -> None:
    """Names of models, layers and checks, evidence and commands come from anybody."""
    assert _harmless() == _shape(html(hostile(f"-{text}")))


def test_a_hostile_text_runs_nothing_and_fetches_nothing() -> None:
    """It is text, with its control characters as escapes."""
    page = html(hostile(HOSTILE))
    found = read(page)
    attributes = {name for one in found.all(*_tags(page)) for name in one.attributes}
    assert [] == found.all("script", "img", "link", "iframe", "object", "form", "base")
    assert not {one for one in attributes if one.startswith("on")} | attributes & {"src", "style"}
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "{{ 7 * 191 }}" in found.text


def test_nothing_is_fetched() -> None:
    """No address stands in an attribute or in the styles."""
    page = html(RESULTS)
    assert not re.search(r"https?:|url\(|@import|//", page)


def test_a_large_run_is_a_small_page_and_fast(tmp_path: Path) -> None:
    """32 layers of three models, 20 checks each: below 1 MB, in less than 5 seconds."""
    results = several(["a", "b", "c"], layers=32, checks=20, text=" evidence" * 10)
    began = time.process_time()  # other work beside is not the page
    write_report(tmp_path / "r.html", results)
    assert time.process_time() - began < 5
    assert (tmp_path / "r.html").stat().st_size < LIMIT


def test_evidence_is_left_out_where_there_is_no_room() -> None:
    """First that of what passed, and the page says so."""
    judged = verdict(reason("layer01", text="x" * 3000), reason("layer02", Status.FAIL, 0.5))
    results = replace(RESULTS, verdicts=(judged,), outcome=red(judged))
    cut = html(results, limit=len(html(results).encode()) - 1)
    (section,) = [one for one in read(cut).all("section") if one.attributes["id"] == "verdicts"]
    assert 1 == section.text.count("closest pair")
    assert "Left out, to stay below the size limit: evidence of what passed." in section.text


def test_of_too_many_layers_a_few_are_left() -> None:
    """Those that are not PASS."""
    judged = verdict(reason("layer01"), *(reason(one, Status.FAIL, 0.5) for one in names(30)))
    page = read(html(replace(RESULTS, verdicts=(judged,)), limit=0))
    (section,) = [one for one in page.all("section") if one.attributes["id"] == "verdicts"]
    assert ["layer01", "layer02", "layer03", "layer04", "layer05"] == [
        one.text for one in section.all("tbody")[0].all("th")
    ]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the words that install it."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"jinja2: install pytest-injectivity\[html\]"):
        write_report(tmp_path / "r.html", RESULTS)
    assert [] == list(tmp_path.iterdir())


def test_making_a_page_loads_no_torch_and_no_numpy() -> None:
    """Nor matplotlib."""
    code = (
        "import sys\n"
        "from pytest_injectivity.reports.html import html\n"
        "from tests.reports.pages import several\n"
        "html(several(['a', 'b']))\n"
        "print(*{'numpy', 'torch', 'transformers', 'matplotlib'} & set(sys.modules))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert "" == done.stdout.strip()
