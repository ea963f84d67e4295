"""Rules judged by the results of a run and by two results files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import AuditConfig, OptionError
from pytest_injectivity.config.decision_rules import parse_rules
from pytest_injectivity.plugin.deciding import decide, read_evaluations
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.results.decision import Choice, Kept
from pytest_injectivity.results.evaluation import Evaluation, read_evaluation
from pytest_injectivity.results.outcome import FailedTest, Outcome
from pytest_injectivity.results.run_results import NamedResults, RunResults
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.results.test_evaluation import REAL as EVALUATED
from tests.results.test_evaluation import RESULTS, with_model, written
from tests.results.test_summary import RUN

COMPARED = replace(RUN, reference="parent (float32, cpu)", size=40, reference_size=100)


def _verdict(status: Status = Status.PASS) -> Verdict:
    reason = Reason("norm", status, "drift", 0.1, 0.2, "<=")
    return Verdict("state_drift_below", (reason,), "subject", "pytest")


GREEN = RunResults(run=COMPARED, verdicts=(_verdict(), _verdict()), outcome=Outcome(0))


def _pair(folder: Path, **changes: Any) -> tuple[Evaluation, Evaluation]:
    """Evaluations of a model and its parent."""
    parent = read_evaluation(written(folder / "parent.json"))
    return read_evaluation(with_model(folder / "child.json", "b", **changes)), parent


def _results(**scores: dict[str, Any]) -> dict[str, Any]:
    """The entry ``results`` with other scores of some tasks."""
    known = RESULTS["results"]
    return {"results": {**known, **{task: {**known[task], **one} for task, one in scores.items()}}}


def test_a_green_run_ships_without_rules() -> None:
    """The rule that needs no number is the default."""
    decision = decide(GREEN, ())
    assert Choice.SHIP is decision.choice
    assert ["verdicts pass"] == [one.rule for one in decision.rules]
    assert "2 of 2 verdicts PASS" == decision.rules[0].said


@pytest.mark.parametrize("status", [Status.FAIL, Status.INSUFFICIENT])
def test_a_red_verdict_does_not_ship(status: Status) -> None:
    """Asserted or not; its first line is said."""
    decision = decide(replace(GREEN, verdicts=(_verdict(), _verdict(status))), ())
    assert Choice.DO_NOT_SHIP is decision.choice
    assert f"1 of 2 verdicts is not PASS; {status} state_drift_below norm" in decision.rules[0].said


def test_another_test_that_failed_does_not_ship() -> None:
    """One that reached no verdict."""
    outcome = Outcome(1, failed=(FailedTest("t.py::test_other"),))
    decision = decide(replace(GREEN, outcome=outcome), ())
    assert Choice.DO_NOT_SHIP is decision.choice
    assert "1 other test failed, t.py::test_other" in decision.rules[0].said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"complete": False}, "the run is not complete"),
        ({"outcome": Outcome(2, interrupted=True)}, "the run is not complete"),
        ({"outcome": Outcome(4, wrong_use=("OptionError: odd",))}, "OptionError: odd"),
        ({"verdicts": ()}, "nothing was compared: no test reached a verdict"),
        ({"run": None, "verdicts": ()}, "nothing was compared"),
        ({"run": RUN}, "no reference: nothing was compared with a parent"),
        (
            {
                "run": None,
                "models": (NamedResults(name="a", run=RUN), NamedResults(name="b", run=RUN)),
            },
            "several models (a, b): a decision is on one",
        ),
    ],
)
def test_a_run_that_compared_nothing_decides_nothing(changes: dict[str, Any], said: str) -> None:
    """However green it is."""
    decision = decide(replace(GREEN, **changes), parse_rules("verdicts pass"))
    assert Choice.NOT_COMPARABLE is decision.choice
    assert any(said in one for one in decision.obstacles)


@pytest.mark.parametrize(
    ("rule", "run", "kept", "said"),
    [
        ("size <= 0.4", {}, Kept.YES, "40 of 100 bytes, 0.4, meets <= 0.4"),
        ("size <= 0.3", {}, Kept.NO, "0.4, wants <= 0.3"),
        ("size <= 0.3", {"reference_size": None}, Kept.UNKNOWN, "not known"),
        ("bits <= 4", {"quantized": (4.0, 1.0)}, Kept.YES, "kind: 4, meets <= 4"),
        ("bits <= 4", {"quantized": (4.25, 1.0)}, Kept.NO, "4.25, wants <= 4"),
        ("bits <= 4", {}, Kept.NO, "no weight is quantized (float32)"),
        ("share >= 0.9", {"quantized": (4.0, 0.95)}, Kept.YES, "0.95, meets"),
        ("share >= 0.9", {}, Kept.NO, "0, wants >= 0.9"),
    ],
)
def test_sizes_and_bits(rule: str, run: dict[str, Any], kept: Kept, said: str) -> None:
    """Of files as they lie on the disk, and of weights as they were proved."""
    if "quantized" in run:
        bits, share = run["quantized"]
        run = {"quantized": QuantizationInfo(kind="kind", bits=bits, share=share, layers="1")}
    decision = decide(replace(GREEN, run=replace(COMPARED, **run)), parse_rules(rule))
    assert kept is decision.rules[0].kept
    assert said in decision.rules[0].said


def test_every_whole_task_is_judged(tmp_path: Path) -> None:
    """Less perplexity is better; the least recovery is named."""
    better = _results(wikitext={"word_perplexity,none": 12.0}, arc_easy={"acc,none": 0.597})
    pair = _pair(tmp_path, **better)
    decision = decide(GREEN, parse_rules("recovery >= 0.99"), pair)
    assert Choice.SHIP is decision.choice
    assert "4 scores, the least arc_easy acc,none: 0.995 (± 0.024)" in decision.rules[0].said
    worse = _pair(tmp_path, **_results(wikitext={"word_perplexity,none": 14.0}))
    decision = decide(GREEN, parse_rules("recovery >= 0.99"), worse)
    assert Choice.DO_NOT_SHIP is decision.choice
    assert "wikitext word_perplexity,none: 0.8929, wants >= 0.99" == decision.rules[0].said


def test_a_rule_on_one_task_or_one_metric(tmp_path: Path) -> None:
    """A task that is part of a group as well."""
    scores = {"arc_easy": {"acc,none": 0.3}, "mmlu_anatomy": {"acc,none": 0.2}}
    subtasks = {"mmlu": ["mmlu_anatomy"]}
    pair = _pair(tmp_path, **_results(**scores), group_subtasks=subtasks)
    tasks = {"mmlu_anatomy": 0.4, "arc_easy/acc_norm": 1, "arc_easy": 1}
    rules = "; ".join(f"recovery of {task} >= {bound}" for task, bound in tasks.items())
    decision = decide(GREEN, parse_rules(rules), pair)
    assert [Kept.YES, Kept.YES, Kept.NO] == [one.kept for one in decision.rules]
    unknown = decide(GREEN, parse_rules("recovery of nothing >= 0.1"), pair)
    assert Choice.NOT_COMPARABLE is unknown.choice


def test_a_level_asks_for_what_is_proved(tmp_path: Path) -> None:
    """A standard error that is missing leaves it open."""
    pair = _pair(tmp_path)
    rule = "recovery of arc_easy/acc >= {} at 95 %"
    for bound, kept in ((0.95, Kept.YES), (0.99, Kept.NO)):
        judged = decide(GREEN, parse_rules(rule.format(bound)), pair).rules[0]
        assert kept is judged.kept
        assert "arc_easy acc,none: 1, at 95 % at least 0.9612" in judged.said
    open_one = decide(GREEN, parse_rules("recovery of wikitext >= 0.9 at 95 %"), pair)
    assert Choice.NOT_COMPARABLE is open_one.choice
    assert "a standard error is missing" in open_one.rules[0].said


@pytest.mark.parametrize("rule", ["recovery >= 0.1", "recovery of arc_easy >= 0.1 at 90 %"])
def test_a_score_that_is_not_a_number_does_not_ship(rule: str, tmp_path: Path) -> None:
    """However low the bound is."""
    pair = _pair(tmp_path, **_results(arc_easy={"acc,none": float("nan")}))
    assert Choice.DO_NOT_SHIP is decide(GREEN, parse_rules(rule), pair).choice


def test_evaluations_taken_otherwise_decide_nothing(tmp_path: Path) -> None:
    """Whatever the scores are; a broken rule on something else still does."""
    pair = _pair(tmp_path, config={"limit": 10})
    decision = decide(GREEN, parse_rules("recovery >= 0.1"), pair)
    assert Choice.NOT_COMPARABLE is decision.choice
    assert ("evaluations differ: limit: 10, of the reference not said",) == decision.obstacles
    assert () == decision.recoveries
    both = decide(GREEN, parse_rules("recovery >= 0.1; size <= 0.1"), pair)
    assert Choice.DO_NOT_SHIP is both.choice


def test_rules_and_files_belong_together(tmp_path: Path) -> None:
    """A file that no rule judges is a mistake, and so is a rule without files."""
    path = str(written(tmp_path / "r.json"))
    recovery = "recovery >= 0.99"
    for config, message in (
        ({"evaluation": path}, "no rule of --injx-decision judges them"),
        ({"decision": recovery, "evaluation": path}, "'recovery >= 0.99' needs"),
        ({"decision": recovery}, "needs --injx-evaluation and --injx-reference-evaluation"),
    ):
        with pytest.raises(OptionError, match=message):
            read_evaluations(AuditConfig(**config))
    assert read_evaluations(AuditConfig(decision="verdicts pass")) is None
    both = AuditConfig(decision=recovery, evaluation=path, reference_evaluation=path)
    assert read_evaluations(both) is not None


REAL = read_evaluation(EVALUATED / "child"), read_evaluation(EVALUATED / "parent")


@pytest.mark.parametrize(
    ("rules", "choice", "said"),
    [
        ("recovery of local_choice >= 0.9", Choice.SHIP, "local_choice acc,none: 1.023"),
        ("recovery of local_text >= 0.99", Choice.DO_NOT_SHIP, "word_perplexity,none: 0.9791"),
        (
            "recovery of local_text >= 0.9 at 95 %",
            Choice.NOT_COMPARABLE,
            "standard error is missing",
        ),
        ("recovery of local_answer/exact_match,strict >= 1", Choice.SHIP, "exact_match,strict: 1 "),
        ("recovery of local_answer >= 1", Choice.NOT_COMPARABLE, "the reference's score is 0"),
        ("recovery >= 0.9", Choice.NOT_COMPARABLE, "flexible: the reference's score is 0"),
    ],
)
def test_real_evaluations_are_judged(rules: str, choice: Choice, said: str) -> None:
    """Of two models that lm-evaluation-harness was run on."""
    decision = decide(GREEN, parse_rules(rules), REAL)
    assert choice is decision.choice
    assert said in decision.rules[0].said


def test_rules_on_tasks_ask_nothing_of_others() -> None:
    """The parent may have been evaluated on more; a rule on every task says what is missing."""
    child, parent = REAL
    fewer = child.of(["local_choice"])
    named = decide(GREEN, parse_rules("recovery of local_choice >= 0.9"), (fewer, parent))
    assert Choice.SHIP is named.choice
    assert ["local_choice"] == [one.task for one in named.recoveries if one.metric == "acc,none"]
    every = decide(GREEN, parse_rules("recovery >= 0.9"), (fewer, parent))
    assert Choice.NOT_COMPARABLE is every.choice
    assert "scores of the model lack local_answer exact_match,flexible" in every.obstacles[0]
