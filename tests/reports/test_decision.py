"""The decision as JSON and as a page."""

import json
import math
from dataclasses import replace
from pathlib import Path

from pytest_injectivity.reports.decision import write_report
from pytest_injectivity.results.decision import Decision, JudgedRule, Kept, Recovery
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.results.test_summary import RUN

RULES = (
    JudgedRule("verdicts pass", Kept.YES, "1 of 1 verdict PASS"),
    JudgedRule("recovery >= 0.99", Kept.NO, "arc acc,none: 0.9, wants >= 0.99"),
)
DECISION = Decision(
    RULES,
    ("evaluations differ: <b>limit</b> | 10",),
    (
        Recovery("arc", "acc,none", 0.54, 0.6, 0.9, 0.02),
        Recovery("odd", "f1,none", math.nan, 0.0, None, None, "the reference's score is 0"),
    ),
    ("hf pretrained=a", ""),
    40,
    100,
)
VERDICT = Verdict("drift", (Reason("norm", Status.PASS, "drift", 0.1, 0.2, "<="),), "s", "pytest")
RESULTS = RunResults(
    run=replace(RUN, reference="parent"),
    verdicts=(VERDICT,),
    outcome=Outcome(1, command="pytest t.py"),
    decision=DECISION,
)


def test_the_page_begins_with_the_choice(tmp_path: Path) -> None:
    """Then come the rules, the models, the evaluations and the verdicts."""
    write_report(tmp_path / "d.json", RESULTS)
    page = (tmp_path / "d.md").read_text()
    assert page.startswith("# ❌ DO NOT SHIP: ")
    assert "| ❌ | recovery &#62;= 0.99 | arc acc,none: 0.9, wants &#62;= 0.99 |" in page
    assert "| weights files | 40 bytes, 0.4 of the reference's 100 |" in page
    assert "| arc | acc,none | 0.54 | 0.6 | 0.9 | 0.02 |" in page
    assert "| odd | f1,none | nan | 0 | the reference's score is 0 |  |" in page
    assert "| PASS | PASS drift: norm: drift 0.1, meets &#60;= 0.2 |" in page
    assert "- evaluations differ: &#60;b&#62;limit&#60;/b&#62; &#124; 10" in page


def test_the_data_have_everything(tmp_path: Path) -> None:
    """Numbers that are not finite are texts."""
    write_report(tmp_path / "d.json", RESULTS)
    data = json.loads((tmp_path / "d.json").read_text())
    assert (1, "pytest-injectivity", "decision") == (data["schema"], data["tool"], data["kind"])
    assert "DO NOT SHIP" == data["decision"]["choice"]
    assert ["kept", "not kept"] == [one["kept"] for one in data["decision"]["rules"]]
    assert 0.02 == data["decision"]["recoveries"][0]["stderr"]
    assert "nan" == data["decision"]["recoveries"][1]["model"]
    assert ("parent", RUN.prompt_hash) == (data["reference"], data["prompt_hash"])


def test_a_path_of_a_page_has_its_data_beside_it(tmp_path: Path) -> None:
    """With the suffix that the other one has."""
    write_report(tmp_path / "d.md", RESULTS)
    assert ["d.json", "d.md"] == sorted(one.name for one in tmp_path.iterdir())
    assert "DO NOT SHIP" == json.loads((tmp_path / "d.json").read_text())["decision"]["choice"]


def test_a_run_without_a_decision_is_not_comparable(tmp_path: Path) -> None:
    """Nothing ships because nothing was decided."""
    write_report(tmp_path / "d", replace(RESULTS, decision=None))
    assert "# ⚠️ NOT COMPARABLE: " in (tmp_path / "d.md").read_text()


def test_a_page_of_many_scores_is_cut(tmp_path: Path) -> None:
    """The data have them all."""
    many = tuple(Recovery(f"t{at}", "acc,none", 0.5, 0.5, 1.0, None) for at in range(500))
    write_report(tmp_path / "d", replace(RESULTS, decision=replace(DECISION, recoveries=many)))
    page = (tmp_path / "d.md").read_text()
    assert "… and 300 more rows, which the JSON file has." in page
    assert 500 == len(json.loads((tmp_path / "d").read_text())["decision"]["recoveries"])
