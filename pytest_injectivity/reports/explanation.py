"""A run in plain sentences: what each check asked, what was found, and what to do.

The results come from a file that anybody may have written: all that is quoted is put on one line,
without control characters.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_injectivity.core.numbers import show, show_apart, times_over
from pytest_injectivity.core.text import number_of, one_line, verb
from pytest_injectivity.reports.workflow import harmless, in_workflow
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.questions import QUESTIONS, UNKNOWN
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.summary import RunSummary
from pytest_injectivity.results.verdict import Reason, Status, Verdict, counted

_LONGEST = 2000
_MOST = 8
_RELATIONS = {">=": "at least", "<=": "at most"}
_UNDECIDED = (
    "Audit more prompts, or ask for less confidence; where states cannot be resolved, a wider dtype"
    " resolves them."
)


def explanation(results: RunResults, *, width: int) -> str:
    """The run as paragraphs of at most ``width`` columns.

    Args:
        results: what the tests found.
        width: columns of a line; a command is longer.
    """
    lines = list(_opening(results))
    for verdict in _joined(results.verdicts):
        lines += ["", f"{verdict.status} {verdict.of_model(verdict.check)}"]
        lines += [f"  {sentence}" for sentence in _sentences(verdict)]
    wrapped = [part for line in lines for part in _wrapped(one_line(line, _LONGEST), width)]
    return "\n".join(map(harmless, wrapped) if in_workflow() else wrapped)


def _wrapped(line: str, width: int) -> list[str]:
    if not line or line.startswith("  To see it again: "):
        return [line]
    indented = "    " if line.startswith("  ") else ""
    return textwrap.wrap(line, width, subsequent_indent=indented, break_long_words=False)


def _opening(results: RunResults) -> Iterator[str]:
    """How the run ended, and what was audited."""
    verdicts = results.verdicts
    outcome = results.outcome or Outcome(int(any(not one.passed for one in verdicts)))
    yield f"The run was {outcome.ended}: {counted(verdicts)}."
    # A file has no verdicts of tests that failed: which of them were gates is not known.
    because = [*outcome.incomplete, *results.wrong_use]
    if outcome.red and all(one.passed for one in verdicts) and not because:
        because = ["a test failed for a reason of its own"]
    yield from (f"Because: {why}." for why in because)
    if not results.complete:
        yield "It is not complete: it was interrupted, or a worker was lost."
    if results.decision is not None:
        yield f"Decision: {results.decision.line}"
    for name, part in results.parts:
        if part.run is not None:
            yield _audited(name, part.run)


def _audited(name: str, run: RunSummary) -> str:
    called = f"{name}: " if name else ""
    size = f"{number_of(run.n_layers, 'layer')}, {run.dtype} on {run.device}"
    parent = f", against {run.reference}" if run.reference else ""
    return (
        f"Audited: {called}{run.model} ({run.family}, {size}), {number_of(run.n, 'prompt')} of"
        f" {run.prompts}{parent}."
    )


def _joined(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """One verdict for each check of a model, red ones first: tests may have one a layer."""
    joined: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        key = verdict.check, verdict.model
        known = joined.get(key)
        if known is None:
            joined[key] = verdict
            continue
        first = known if not known.passed else verdict
        joined[key] = replace(
            known,
            reasons=(*known.reasons, *verdict.reasons),
            ahead=tuple(dict.fromkeys((*known.ahead, *verdict.ahead))),
            reproduce=first.reproduce,
        )
    return sorted(joined.values(), key=lambda one: one.passed)


def _sentences(verdict: Verdict) -> Iterator[str]:
    question = QUESTIONS.get(verdict.check, UNKNOWN)
    yield f"Asked: {question.asked}"
    if not verdict.reasons:
        yield "Found: nothing was compared, which proves nothing and therefore fails."
    elif verdict.passed:
        yield f"Found: yes, {_everywhere(verdict.reasons)}.{_tightest(verdict.reasons)}"
        return
    else:
        yield from _found(verdict)
        if verdict.status is Status.FAIL:
            yield f"That means: {question.means}"
    yield from (f"Mind first: {line}" for line in verdict.ahead)
    first = verdict.failing[0] if verdict.failing else None
    if first is not None and first.would_pass:
        yield f"Would have passed: {first.would_pass} ({first.where})."
    # More prompts do not decide about the field of a configuration.
    undecided = (
        verdict.status is Status.INSUFFICIENT and first is not None and first.unit != "field"
    )
    yield f"Next: {_UNDECIDED if undecided else question.then}"
    yield f"To see it again: {verdict.reproduce}"


def _found(verdict: Verdict) -> Iterator[str]:
    bad = verdict.failing
    first = next(one for one in bad if one.status is verdict.status)
    answer = "no" if verdict.status is Status.FAIL else "the sample proves neither yes nor no"
    yield f"Found: {answer}. At {first.where}: {_measured(first)}."
    where = list(dict.fromkeys(one.where for one in bad))
    if len(where) > 1:
        good = {one.where for one in verdict.reasons} - set(where)
        rest = f"; it passes at {number_of(len(good), 'other')}" if good else ""
        yield f"It is so at {number_of(len(where), first.unit)}: {_listed(where)}{rest}."
    yield from dict.fromkeys(
        f"Evidence: {line}." for one in bad for line in one.evidence if line.startswith("blame: ")
    )


def _measured(reason: Reason) -> str:
    """What was measured and what was wanted, in words."""
    if reason.headline:
        return reason.headline
    value, bound = show_apart(reason.value, reason.bound)
    return f"{reason.quantity} {value}, where {_RELATIONS[reason.relation]} {bound} is wanted"


def _everywhere(reasons: Sequence[Reason]) -> str:
    where = list(dict.fromkeys(one.where for one in reasons))
    unit = reasons[0].unit
    if len(where) == 1:
        return f"at {where[0]}"
    return f"at all {number_of(len(where), unit)} ({_listed(where)})"


def _tightest(reasons: Sequence[Reason]) -> str:
    """The number that is nearest to its bound; empty where numbers are no such thing."""
    numbers = [one for one in reasons if not one.headline and one.bound and one.value]
    if not numbers:
        return ""
    closest = max(
        numbers,
        key=lambda one: (
            times_over(one.value, one.bound)
            if one.relation == "<="
            else times_over(one.bound, one.value)
        ),
    )
    bound = f"{_RELATIONS[closest.relation]} {show(closest.bound)} is wanted"
    return f" Nearest to its bound: {closest.where}, {closest.quantity} {show(closest.value)}, {bound}."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST
    if more <= 0:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST])} and {more} {verb(more, 'other', 'others')}"
