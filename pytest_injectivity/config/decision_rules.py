"""The rules by which a run decides whether a model ships (``--injx-decision``, ``injx_decision``).

    rules = rule {";" rule}                 a line end separates rules too
    rule  = "verdicts pass"                 every verdict is PASS, and no test failed
          | "recovery" ["of" TASK] ">=" NUMBER ["at" NUMBER "%"]
          | "size" "<=" NUMBER              bytes of the weights files, over the reference's
          | "bits" "<=" NUMBER              of a quantized weight, as proved
          | "share" ">=" NUMBER             of the blocks' weights that are proved to be quantized

The standard library only: the option's parser reads rules at the start of a run.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from pytest_injectivity.errors import OptionError

Subject = Literal["verdicts", "recovery", "size", "bits", "share"]

_GRAMMAR = (
    '"verdicts pass", "recovery >= 0.99", "recovery of TASK >= 0.97 at 95 %", "size <= 0.4",'
    ' "bits <= 4.5", "share >= 0.9", separated by ";" or line ends'
)
_NUMBER = r"(?P<bound>[0-9.eE+-]{1,20})"
_FORMS: dict[Subject, re.Pattern[str]] = {
    "verdicts": re.compile(r"verdicts\s+pass"),
    "recovery": re.compile(
        rf"recovery(\s+of\s+(?P<task>\S{{1,200}}))?\s*>=\s*{_NUMBER}"
        r"(\s+at\s+(?P<percent>[0-9.]{1,8})\s*%)?"
    ),
    "size": re.compile(rf"size\s*<=\s*{_NUMBER}"),
    "bits": re.compile(rf"bits\s*<=\s*{_NUMBER}"),
    "share": re.compile(rf"share\s*>=\s*{_NUMBER}"),
}


@dataclass(frozen=True)
class DecisionRule:
    """One rule of a decision.

    Attributes:
        text: as it was written.
        subject: what is judged.
        bound: the number that it is judged by; None of verdicts.
        task: of evaluations the one that is judged, or one metric of it, ``arc_easy/acc_norm``, or one
            filter of that, ``gsm8k/exact_match,strict-match``; empty: every score that no group's
            stands for.
        confidence: the level at which the bound has to be proved, such as 0.95; None: the value itself
            is judged.

    Example:
        >>> DecisionRule.parse("recovery of mmlu >= 0.97 at 95 %").confidence
        0.95
    """

    text: str
    subject: Subject
    bound: float | None = None
    task: str = ""
    confidence: float | None = None

    @classmethod
    def parse(cls, text: str) -> "DecisionRule":
        """Read one rule.

        Raises:
            OptionError: it is none.
        """
        said = " ".join(text.split())
        for subject, form in _FORMS.items():
            if (found := form.fullmatch(said)) is None:
                continue
            given = found.groupdict()
            bound = _positive(given["bound"], said) if "bound" in given else None
            percent = given.get("percent")
            confidence = None if percent is None else _level(percent, said)
            if subject == "share" and bound is not None and bound > 1:
                raise OptionError(f"{said!r}: no share is above 1: give a number up to 1")
            return cls(said, subject, bound, given.get("task") or "", confidence)
        raise OptionError(f"{said!r:.200} is no rule of a decision: give {_GRAMMAR}")


def parse_rules(text: str) -> tuple[DecisionRule, ...]:
    """Read the rules of a text, in its order.

    Raises:
        OptionError: one is none, or there twice, or there are none.

    Example:
        >>> [rule.subject for rule in parse_rules("recovery >= 0.99; size <= 0.4; verdicts pass")]
        ['recovery', 'size', 'verdicts']
    """
    parts = [part for part in re.split(r"[;\n]", text) if part.strip()]
    rules = tuple(DecisionRule.parse(part) for part in parts)
    if not rules:
        raise OptionError(f"{text!r} has no rule of a decision: give {_GRAMMAR}")
    subjects = [(rule.subject, rule.task) for rule in rules]
    for at, one in enumerate(subjects):
        if one in subjects[:at]:
            raise OptionError(f"{rules[at].text!r}: there is another rule on the same: give one")
    return rules


DEFAULT_RULES = (DecisionRule("verdicts pass", "verdicts"),)
"""The rules where none are given: those that need no number."""


def _positive(text: str, rule: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise OptionError(f"{rule!r}: {text} is no bound: give a finite number above 0")
    return number


def _level(text: str, rule: str) -> float:
    try:
        level = float(text) / 100
    except ValueError:
        level = math.nan
    if not 0.5 <= level < 1.0:  # noqa: PLR2004 - below it the bound would be above the value
        raise OptionError(f"{rule!r}: {text} % is no level: give one from 50 to below 100")
    return level
