"""The table of a plan: the phases of an audit with bytes, token-forwards and time."""

from collections.abc import Iterator

from pytest_injectivity.core.durations import duration, size
from pytest_injectivity.core.text import one_line
from pytest_injectivity.results.plan import Phase, Plan

_LONGEST = 300
_HEADS = ("phase", "time", "token-forwards", "bytes", "what")


def plan_lines(plan: Plan) -> Iterator[str]:
    """The lines of a plan: what it is of, its phases, their sum, and what is not foreseen."""
    yield f"model    {one_line(plan.model, _LONGEST)}"
    yield f"prompts  {one_line(plan.prompts, _LONGEST)}"
    yield f"memory   {one_line(plan.memory, _LONGEST)}"
    yield f"rates    {one_line(plan.rates, _LONGEST)}"
    if plan.sharing:
        yield f"sharing  {one_line(plan.sharing, _LONGEST)}"
    yield from _table([_HEADS, *map(_row, plan.phases), _sum(plan)])
    for phase in plan.phases:
        if phase.is_long and phase.shorter_by:
            yield f"{phase.name}: shorter by {phase.shorter_by}"
    yield "no test was run; as if the store were empty: what it has already takes no time"
    for sentence in plan.unforeseen:
        yield f"not foreseen: {one_line(sentence, _LONGEST)}"


def _row(phase: Phase) -> tuple[str, ...]:
    return (
        phase.name,
        _time(phase),
        f"{phase.token_forwards:,}" if phase.token_forwards else "–",
        size(phase.bytes) if phase.bytes else "–",
        one_line(phase.what, _LONGEST),
    )


def _time(one: Phase | Plan) -> str:
    """Seconds, with the least and the most in brackets where only a run finds the amount of work."""
    least, most = one.span
    if least == most:
        return duration(one.seconds)
    return f"{duration(one.seconds)} ({duration(least)} to {duration(most)})"


def _sum(plan: Plan) -> tuple[str, ...]:
    return ("together", _time(plan), f"{plan.token_forwards:,}", "", "")


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for name, took, forwards, held, what in rows:
        numbers = (
            cell.rjust(width)
            for cell, width in zip((took, forwards, held), widths[1:4], strict=True)
        )
        yield "  ".join([name.ljust(widths[0]), *numbers, what]).rstrip()
