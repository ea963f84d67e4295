"""A verdict: what a check asked, what it measured at each layer or release, and what would have passed.

Every check returns a `Verdict` with one `Reason` for each layer, release or field that it judged, those
that pass included. A check that compared nothing has no reasons and therefore fails. Comparison is on
unrounded numbers and written so that NaN fails; the printed numbers have enough digits never to look
like a pass beside FAIL.

The first line of the text is the verdict in at most 80 columns, because pytest's short summary and most
CI pages cut there; the evidence follows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from pytest_injectivity.core.html import element, emphasis, words
from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.numbers import show_apart
from pytest_injectivity.core.text import number_of, one_line, verb
from pytest_injectivity.errors import GateFailure

_COLUMNS = 80
_WORD = 16  # letters; a longer one is cut
_COMMAND = 2000
_MOST_LISTED = 12

Relation = Literal[">=", "<="]
Unit = Literal["layer", "release", "field"]


class Status(StrEnum):
    """PASS is green; FAIL and INSUFFICIENT (the sample proves neither) are red."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INSUFFICIENT = "INSUFFICIENT"


WORST_FIRST = (Status.FAIL, Status.INSUFFICIENT, Status.PASS)
"""The statuses, the worst first: of several the first one of these says how all stand."""


@dataclass(frozen=True)
class Reason:
    """What one layer, one release or one field of a configuration contributes to a verdict.

    Attributes:
        where: the layer's id, as in test ids (``layer04``, ``norm``), or the release's or field's name.
        status: the status of this layer, release or field alone.
        quantity: what was measured, in the field's words.
        value: the measured number, unrounded.
        bound: the number that the value is compared with.
        relation: the relation of value to bound that passes.
        headline: a few words for the first line, instead of quantity, value and bound.
        evidence: lines a person reads next: the worst pair, counts, how it was measured.
        interval: the interval of the value, where one is known.
        would_pass: the tolerance that would have passed.
        figures: further numbers by name, for machines: they go to JSON, not into the text.
        unit: what ``where`` names: ``layer``, ``release`` or ``field``.
        seconds: how long the measurement took when it was computed, where that is known; two equal
            runs differ in nothing else.

    Example:
        >>> Reason("norm", Status.FAIL, "1% margin", value=0.0125, bound=0.1, relation=">=").summary
        '1% margin 0.0125, wants >= 0.1'
    """

    where: str
    status: Status
    quantity: str
    value: float
    bound: float
    relation: Relation
    headline: str = ""
    evidence: tuple[str, ...] = ()
    interval: Interval | None = None
    would_pass: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    unit: Unit = "layer"
    seconds: float | None = None

    @property
    def summary(self) -> str:
        """The result in a few words."""
        return self.words + self.numbers

    @property
    def words(self) -> str:
        """What was measured; cut where there is little room."""
        return self.headline or self.quantity

    @property
    def numbers(self) -> str:
        """Value and bound, which are never cut; empty where there is a headline."""
        if self.headline:
            return ""
        value, bound = show_apart(self.value, self.bound)
        wanted = "wants" if self.status is not Status.PASS else "meets"
        return f" {value}, {wanted} {self.relation} {bound}"


@dataclass(frozen=True)
class Verdict:
    """The joint verdict of one check over one or more layers or releases.

    A verdict is true only where it is PASS, so that ``assert audit.check_margin_above(-1, 0.1)`` fails
    for FAIL and for INSUFFICIENT.

    Attributes:
        check: the check's name, e.g. ``no_collisions``.
        reasons: one a layer, shallow first, or one a release or field in the order given.
        subject: a line on what was audited: model, prompts, N, prompt hash, dtype.
        reproduce: a command line that repeats this check.
        notes: lines that hold for all reasons.
        ahead: lines that stand before the reasons, because they say why the numbers are as they are.
        model: the name of the model judged; empty where the run has one model.

    Example:
        >>> reason = Reason("norm", Status.FAIL, "1% margin", value=0.0125, bound=0.1, relation=">=")
        >>> verdict = Verdict("margin_above", (reason,), subject="gpt2", reproduce="pytest")
        >>> bool(verdict), verdict.first_line
        (False, 'FAIL margin_above norm: 1% margin 0.0125, wants >= 0.1')
    """

    derived: ClassVar = ("status", "first_line")

    check: str
    reasons: tuple[Reason, ...]
    subject: str
    reproduce: str
    notes: tuple[str, ...] = field(default=())
    ahead: tuple[str, ...] = field(default=())
    model: str = ""

    @property
    def status(self) -> Status:
        """FAIL if a reason is or there are none, else INSUFFICIENT if a reason is, else PASS."""
        statuses = (reason.status for reason in self.reasons)
        return min(statuses, key=WORST_FIRST.index, default=Status.FAIL)

    @property
    def passed(self) -> bool:
        """True only for PASS."""
        return self.status is Status.PASS

    def __bool__(self) -> bool:
        """True only for PASS."""
        return self.passed

    @property
    def failing(self) -> tuple[Reason, ...]:
        """The reasons that are not PASS, in the order of ``reasons``."""
        return tuple(reason for reason in self.reasons if reason.status is not Status.PASS)

    @property
    def decisive(self) -> Reason:
        """The first reason with the verdict's own status: not an undecided one before one that fails."""
        return next(reason for reason in self.reasons if reason.status is self.status)

    @property
    def first_line(self) -> str:
        """The verdict in at most 80 columns."""
        if not self.reasons:
            return _cut(f"{self.status} {self.of_model(self.check)}: nothing was compared")
        if self.passed:
            return _cut(f"{self.status} {self.of_model(self.check)}: {_count(self.reasons)}")
        first = self.decisive
        others = len(self.failing) - 1
        head = f"{first.status} {self.of_model(f'{self.check} {first.where}')}:"
        wordings = list(_wordings(first, self.check))
        for more in (f" (+{others} more)", f" (+{others})") if others else ("",):
            tail = first.numbers + more
            lines = (f"{head} {words}".rstrip() + tail for words in wordings)
            if whole := next((line for line in lines if len(line) <= _COLUMNS), ""):
                return whole
        return _cut(f"{head} {first.words}", _COLUMNS - len(tail), len(head) + 1) + tail

    def of_model(self, what: str) -> str:
        """What is named, and the model it is of where the run has several: ``layer04 of nf4``."""
        return f"{what} of {self.model}" if self.model else what

    @property
    def text(self) -> str:
        """The whole verdict: first line, each failing reason with its evidence, how to reproduce."""
        lines = [self.first_line, *(f"  {line}" for line in self.ahead), f"  {self.subject}"]
        for reason in self.failing[:_MOST_LISTED]:
            lines += _block(reason)
        if (left := len(self.failing) - _MOST_LISTED) > 0:
            unlisted = self.failing[_MOST_LISTED:]
            lines.append(f"  … and {left} more {unlisted[0].unit}s: {_names(unlisted)}")
        if good := [reason for reason in self.reasons if reason.status is Status.PASS]:
            lines.append(f"  PASS at {_names(good)}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join([*lines, f"  reproduce: {one_line(self.reproduce, _COMMAND)}"])

    def _repr_html_(self) -> str:
        """The verdict in a notebook: what was judged, a row a reason, how to repeat it."""
        title = f"{emphasis(self.status, good=self.passed)} {words(self.of_model(self.check))}"
        lines = [element("p", words(line)) for line in (*self.ahead, self.subject)]
        head = ("", "", "result", "interval", "would have passed")
        rows = [element("tr", *(element("th", one) for one in head)), *map(_row, self.reasons)]
        notes = [element("p", words(note)) for note in self.notes]
        again = element("pre", words(one_line(self.reproduce, _COMMAND)))
        return element("div", element("h4", title), *lines, element("table", *rows), *notes, again)

    def require(self) -> "Verdict":
        """This verdict when it is PASS.

        Raises:
            GateFailure: it is not; the message is the verdict's text.
        """
        __tracebackhide__ = True
        if not self.passed:
            raise GateFailure(self.text)
        return self


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts are not PASS, or that all are: the words of every report's headline.

    >>> counted(())
    'no verdict'
    """
    if not verdicts:
        return "no verdict"
    red = sum(not verdict.passed for verdict in verdicts)
    judged = number_of(len(verdicts), "verdict")
    if red:
        return f"{red} of {judged} {verb(red, 'is', 'are')} not PASS"
    return f"{len(verdicts)} of {judged} PASS"


def judge(value: float, relation: Relation, bound: float) -> Status:
    """PASS when ``value relation bound`` holds on unrounded numbers; NaN on either side fails."""
    holds = value >= bound if relation == ">=" else value <= bound
    return Status.PASS if holds else Status.FAIL


def _wordings(reason: Reason, check: str) -> Iterator[str]:
    """What was measured, in fewer and fewer words: whole lines are read, and cut ones guessed at."""
    yield reason.words
    short = re.sub(r" \([^()]*\)", "", reason.words)
    yield short
    named = set(re.findall("[a-z]+", short.replace("-", "").lower())) & set(check.split("_"))
    if reason.numbers and named:
        yield short.partition(" of ")[2]  # the check's name says what, and this says of what
        yield ""


def _cut(line: str, columns: int = _COLUMNS, least: int = 0) -> str:
    """The line, cut between two words where one ends shortly before the last column.

    The first ``least`` characters are not looked at.
    """
    if len(line) <= columns:
        return line
    between = line.rfind(" ", max(least, columns - _WORD), columns - 1)
    return f"{line[: columns - 1]}…" if between < 0 else f"{line[:between]} …"


def _count(reasons: Sequence[Reason]) -> str:
    first, last = reasons[0], reasons[-1]
    if len(reasons) == 1:
        return f"{first.where}: {first.summary}"
    # Layers are in order of depth, so the first and the last name a range; releases are not.
    named = f"{first.where} to {last.where}" if first.unit == "layer" else _names(reasons)
    return f"{len(reasons)} {first.unit}s, {named}"


def _names(reasons: Sequence[Reason]) -> str:
    return ", ".join(reason.where for reason in reasons)


def _row(reason: Reason) -> str:
    """A reason as a row of HTML; what is red with its evidence."""
    good = reason.status is Status.PASS
    evidence = [] if good else [element("li", words(line)) for line in reason.evidence]
    cells = (
        words(reason.where),
        emphasis(reason.status, good=good),
        words(reason.summary) + (element("ul", *evidence) if evidence else ""),
        words(reason.interval or ""),
        "" if good else words(reason.would_pass),
    )
    return element("tr", *(element("td", cell, style="text-align:left") for cell in cells))


def _block(reason: Reason) -> list[str]:
    lines = [f"  {reason.where}: {reason.status}: {reason.summary}"]
    lines += [f"    {line}" for line in reason.evidence]
    if reason.interval is not None:
        lines.append(f"    interval of the {reason.quantity}: {reason.interval}")
    if reason.would_pass:
        lines.append(f"    would have passed: {reason.would_pass}")
    return lines
