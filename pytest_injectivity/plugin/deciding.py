"""Decides whether a model ships, by the rules of the options, from the results of a run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.config.decision_rules import DEFAULT_RULES, DecisionRule
from pytest_injectivity.core.numbers import show, show_apart
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.decision import Decision, JudgedRule, Kept, Recovery, recoveries
from pytest_injectivity.results.evaluation import Evaluation, read_evaluation, unlike
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.verdict import counted

_FILES = "--injx-evaluation and --injx-reference-evaluation"
_TASKS = 3


@dataclass(frozen=True)
class Evidence:
    """What a decision is made from.

    Attributes:
        results: of the run, with its outcome.
        recoveries: of comparable evaluations.
        unlike: why the evaluations are not comparable.
        evaluated: whether there are evaluations.
    """

    results: RunResults
    recoveries: tuple[Recovery, ...] = ()
    unlike: tuple[str, ...] = ()
    evaluated: bool = False


def read_evaluations(audited: AuditConfig) -> tuple[Evaluation, Evaluation] | None:
    """The evaluations of the model and of its reference, where rules judge them.

    Raises:
        OptionError: a file is missing or damaged, or no rule is on what the files hold.
    """
    about = [rule.text for rule in audited.decision if rule.subject == "recovery"]
    files = (audited.evaluation, audited.reference_evaluation)
    if not about and files != (None, None):
        raise OptionError(
            f"{_FILES}: no rule of --injx-decision judges them: give one, such as recovery >= 0.99"
        )
    if not about:
        return None
    model, reference = files
    if model is None or reference is None:
        raise OptionError(f"--injx-decision: {about[0]!r} needs {_FILES}")
    return read_evaluation(Path(model)), read_evaluation(Path(reference))


def decide(
    results: RunResults,
    rules: Sequence[DecisionRule],
    evaluations: tuple[Evaluation, Evaluation] | None = None,
) -> Decision:
    """Decide by the rules.

    Args:
        results: of the run, with its outcome.
        rules: by which it is decided; none: that every verdict is PASS.
        evaluations: of the model and of its reference; None where there are none.
    """
    asked = rules or DEFAULT_RULES
    differences: tuple[str, ...] = ()
    found: tuple[Recovery, ...] = ()
    if evaluations is not None:
        about = [rule.task for rule in asked if rule.subject == "recovery"]
        named = {part for task in about for part in (task, task.rpartition("/")[0]) if part}
        # Rules that name tasks ask nothing of others.
        child, parent = (one if "" in about else one.of(named) for one in evaluations)
        differences = unlike(child, parent)
        found = () if differences else tuple(recoveries(child, parent, named))
    evidence = Evidence(results, found, differences, evaluations is not None)
    run = results.alone
    return Decision(
        rules=tuple(_JUDGES[rule.subject](rule, evidence) for rule in asked),
        obstacles=(*_obstacles(results), *differences),
        recoveries=found,
        evaluated=() if evaluations is None else tuple(one.model for one in evaluations),
        size=None if run is None else run.size,
        reference_size=None if run is None else run.reference_size,
    )


def _obstacles(results: RunResults) -> Iterator[str]:
    """Why the run itself decides nothing."""
    outcome = results.outcome
    if not results.complete or (outcome is not None and outcome.interrupted):
        yield "the run is not complete: some tests did not run"
    if outcome is not None:
        yield from (one_line(said, 400) for said in outcome.wrong_use)
    if not results.verdicts:
        yield "nothing was compared: no test reached a verdict"
    elif len(results.parts) > 1:
        names = ", ".join(name or "the model itself" for name, _ in results.parts)
        yield one_line(
            f"several models ({names}): a decision is on one: give one --injx-model", 400
        )
    elif results.alone is None or results.alone.reference is None:
        yield "no reference: nothing was compared with a parent (--injx-reference)"


def _verdicts(rule: DecisionRule, evidence: Evidence) -> JudgedRule:
    verdicts, outcome = evidence.results.verdicts, evidence.results.outcome
    if not verdicts:
        return JudgedRule(rule.text, Kept.UNKNOWN, "no test reached a verdict")
    red = [one for one in verdicts if not one.passed]
    others = [] if outcome is None else [one for one in outcome.failed if not one.verdicts]
    said = counted(verdicts)
    if red:
        said += f"; {one_line(red[0].first_line)}"
    if others:
        said += f"; {number_of(len(others), 'other test')} failed, {one_line(others[0].nodeid)}"
    return JudgedRule(rule.text, Kept.NO if red or others else Kept.YES, said)


def _size(rule: DecisionRule, evidence: Evidence) -> JudgedRule:
    run = evidence.results.alone
    if run is None or not run.size or not run.reference_size:
        return JudgedRule(rule.text, Kept.UNKNOWN, "the size of a model is not known")
    said = f"{run.size:,} of {run.reference_size:,} bytes, "
    return _at_most(rule, run.size / run.reference_size, said)


def _bits(rule: DecisionRule, evidence: Evidence) -> JudgedRule:
    run = evidence.results.alone
    if run is None:
        return JudgedRule(rule.text, Kept.UNKNOWN, "no model was measured")
    if run.quantized is None:
        return JudgedRule(rule.text, Kept.NO, f"no weight is quantized ({run.dtype})")
    return _at_most(rule, run.quantized.bits, f"{run.quantized.kind}: ")


def _share(rule: DecisionRule, evidence: Evidence) -> JudgedRule:
    run = evidence.results.alone
    if run is None:
        return JudgedRule(rule.text, Kept.UNKNOWN, "no model was measured")
    share = 0.0 if run.quantized is None else run.quantized.share
    return _at_least(rule, share, "")


def _recovery(rule: DecisionRule, evidence: Evidence) -> JudgedRule:
    if not evidence.evaluated:
        return JudgedRule(rule.text, Kept.UNKNOWN, f"no evaluations: give {_FILES}")
    if evidence.unlike:
        return JudgedRule(rule.text, Kept.UNKNOWN, evidence.unlike[0])
    found = [one for one in evidence.recoveries if rule.task in ("", *_names(one))]
    if not found:
        return JudgedRule(rule.text, Kept.UNKNOWN, f"no task {rule.task!r} in both files")
    judged = [_of_task(rule, one) for one in found]
    for kept in (Kept.NO, Kept.UNKNOWN):
        if said := [one.said for one in judged if one.kept is kept]:
            left = len(said) - _TASKS
            more = f" and {number_of(left, 'more score')}" if left > 0 else ""
            return JudgedRule(rule.text, kept, "; ".join(said[:_TASKS]) + more)
    worst = min(found, key=lambda one: one.value or 0.0)
    least = _of_task(rule, worst).said
    return JudgedRule(rule.text, Kept.YES, f"{number_of(len(found), 'score')}, the least {least}")


def _names(one: Recovery) -> tuple[str, ...]:
    """What a rule may call a score: its task, with the metric or not, with the filter or not."""
    return one.task, f"{one.task}/{one.metric.partition(',')[0]}", f"{one.task}/{one.metric}"


def _of_task(rule: DecisionRule, one: Recovery) -> JudgedRule:
    name = f"{one.task} {one.metric}"
    if one.value is None:
        return JudgedRule(rule.text, Kept.UNKNOWN, f"{name}: {one.reason}")
    if rule.confidence is None:
        around = "" if one.stderr is None else f" (± {show(one.stderr, 2)})"
        return _at_least(rule, one.value, f"{name}: ", around)
    least = one.least(rule.confidence)
    if least is None and one.value == one.value:
        return JudgedRule(rule.text, Kept.UNKNOWN, f"{name}: a standard error is missing")
    said = f"{name}: {show(one.value)}, at {100 * rule.confidence:g} % at least "
    return _at_least(rule, one.value if least is None else least, said)


def _at_most(rule: DecisionRule, value: float, before: str) -> JudgedRule:
    bound = rule.bound or 0.0
    shown, wanted = show_apart(value, bound)
    kept = value <= bound
    words = "meets" if kept else "wants"
    said = f"{before}{shown}, {words} <= {wanted}"
    return JudgedRule(rule.text, Kept.YES if kept else Kept.NO, said)


def _at_least(rule: DecisionRule, value: float, before: str, after: str = "") -> JudgedRule:
    bound = rule.bound or 0.0
    shown, wanted = show_apart(value, bound)
    kept = value >= bound
    words = "meets" if kept else "wants"
    said = f"{before}{shown}{after}, {words} >= {wanted}"
    return JudgedRule(rule.text, Kept.YES if kept else Kept.NO, said)


_JUDGES: dict[str, Callable[[DecisionRule, Evidence], JudgedRule]] = {
    "verdicts": _verdicts,
    "recovery": _recovery,
    "size": _size,
    "bits": _bits,
    "share": _share,
}
