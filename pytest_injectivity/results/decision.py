"""A decision on a model, as plain data: the rules with what was measured, and what could not be."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import ClassVar

from pytest_injectivity.results.evaluation import Evaluation, Score


class Choice(StrEnum):
    """The outcome of a decision."""

    SHIP = "SHIP"
    DO_NOT_SHIP = "DO NOT SHIP"
    NOT_COMPARABLE = "NOT COMPARABLE"


class Kept(StrEnum):
    """Whether a rule is kept; not comparable: what it is about was not, or not alike, measured."""

    YES = "kept"
    NO = "not kept"
    UNKNOWN = "not comparable"


@dataclass(frozen=True)
class JudgedRule:
    """A rule of a decision, judged.

    Attributes:
        rule: its text.
        kept: whether it is kept.
        said: what was measured, or why nothing was.
    """

    rule: str
    kept: Kept
    said: str


@dataclass(frozen=True)
class Recovery:
    """How much of its parent's score a model has on a task.

    Attributes:
        task, metric: as in the results files.
        model, reference: both scores.
        value: the ratio, turned over where less is better: 1 is the parent's score, less is worse; None
            where the parent's score is no positive number, or which of two is better is not known.
        stderr: its standard error by the delta method, as if the errors of both scores were
            independent, which is too large where both models answered the same questions; None where a
            file has no standard error.
        reason: why there is no value; empty where there is one.
    """

    task: str
    metric: str
    model: float
    reference: float
    value: float | None
    stderr: float | None
    reason: str = ""

    @classmethod
    def of(cls, child: Score, parent: Score) -> "Recovery":
        """The recovery of two scores of one task and metric."""
        known = (child.task, child.metric, child.value, parent.value)
        if child.higher is None or child.higher is not parent.higher:
            return cls(*known, None, None, "whether more is better is not known")
        if not 0.0 < parent.value < math.inf:
            return cls(*known, None, None, f"the reference's score is {parent.value:g}")
        if not math.isfinite(child.value):
            return cls(*known, math.nan, None)
        if not child.higher and child.value <= 0.0:
            return cls(*known, None, None, f"the model's score is {child.value:g}")
        value = child.value / parent.value if child.higher else parent.value / child.value
        return cls(*known, value, _stderr(value, child, parent))

    def least(self, confidence: float) -> float | None:
        """The lower end of the value's one-sided interval; None where there is no standard error."""
        if self.value is None or self.stderr is None:
            return None
        return self.value - NormalDist().inv_cdf(confidence) * self.stderr


@dataclass(frozen=True)
class Decision:
    """A decision on a model.

    Attributes:
        rules: in the order given.
        obstacles: why models or files are not comparable, a sentence each.
        recoveries: of the scores that no group's stand for, and of the tasks that a rule names.
        evaluated: the models that both results files name; empty where there are none.
        size, reference_size: bytes of the weights files; None where not known.
    """

    derived: ClassVar = ("choice",)

    rules: tuple[JudgedRule, ...] = ()
    obstacles: tuple[str, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    evaluated: tuple[str, ...] = ()
    size: int | None = None
    reference_size: int | None = None

    @property
    def choice(self) -> Choice:
        """DO NOT SHIP where a rule is not kept, SHIP where all are and nothing is in the way."""
        kept = {one.kept for one in self.rules}
        if Kept.NO in kept:
            return Choice.DO_NOT_SHIP
        if self.obstacles or kept != {Kept.YES}:
            return Choice.NOT_COMPARABLE
        return Choice.SHIP

    @property
    def line(self) -> str:
        """The decision with its first reason."""
        said = [f"{one.rule}: {one.said}" for one in self.rules if one.kept is Kept.NO]
        said += self.obstacles
        said += [f"{one.rule}: {one.said}" for one in self.rules if one.kept is Kept.UNKNOWN]
        return f"{self.choice}: {said[0]}" if said else str(self.choice)


def recoveries(
    child: Evaluation, parent: Evaluation, named: Collection[str] = ()
) -> Iterator[Recovery]:
    """The recoveries of comparable evaluations.

    Args:
        child: of the model.
        parent: of its parent.
        named: tasks beside the scores that no group's stand for.
    """
    whole = set(child.whole)
    for key, score in child.scores.items():
        if (key in whole or score.task in named) and key in parent.scores:
            yield Recovery.of(score, parent.scores[key])


def _stderr(value: float, child: Score, parent: Score) -> float | None:
    if child.stderr is None or parent.stderr is None or not math.isfinite(value):
        return None
    if value == 0.0:
        return child.stderr / parent.value
    return abs(value) * math.hypot(child.stderr / child.value, parent.stderr / parent.value)
