"""The table of what two files of numbers may differ in, each with its reason (``same_numbers.py``).

A rule names values by the end of their path, in which ``*`` stands for anything: ``seconds``,
``reasons/*/layer``. An item of a list is written with its place and what names it, ``[3 norm]``, and a
verdict with its check: ``verdicts/[0 margin_above norm]/reasons/[0 norm]/interval/low``. Renamed keys
have their old name in rules of old values ("renamed", "value", "phrase"), and their new one in all
others.

A mapping file is a JSON list of further rules, such as::

    [{"kind": "renamed", "at": "reasons/*/layer", "to": "where", "why": "a release is no layer"},
     {"kind": "added", "at": "reasons/*/unit", "why": "new: what `where` names"},
     {"kind": "value", "at": "status", "was": "INSUFFICIENT", "to": "UNDECIDED", "why": "plainer"},
     {"kind": "phrase", "was": "tokens clustered by prompt", "to": "by prompt", "why": "shorter"},
     {"kind": "numbers only", "at": "notes/*", "why": "sentences were written anew"}]
"""

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

Kind = Literal[
    "left out",  # neither file's value is looked at
    "added",  # a key of the new file only, whose value is not looked at
    "renamed",  # a key of the old file is called `to` in the new one
    "value",  # the old value `was` is written `to` in the new file
    "phrase",  # in texts of the old file, the words `was` are written `to` in the new one
    "scrubbed",  # in texts of both files, what the regular expression `was` matches is not looked at
    "numbers only",  # of texts their numbers are compared, and not their words
    "unordered",  # the order of the list does not matter: items are paired by what names them
    "mended",  # the old value is an error, and the new one is none
    "close",  # ends of intervals by Clopper and Pearson: equal to 1e-9
]


@dataclass(frozen=True)
class Rule:
    """One thing that two files may differ in.

    Attributes:
        kind: see `Kind`.
        at: which values, by the end of their path.
        why: the reason.
        was: of a value, a phrase or a scrubbed text: what is looked for.
        to: of a renamed key, a value or a phrase: what stands for it in the new file.
    """

    kind: Kind
    why: str
    at: str = "*"
    was: Any = None
    to: Any = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"{self.kind!r} is no kind of rule: give one of {get_args(Kind)}")
        if not self.why:
            raise ValueError(f"the rule {self.kind!r} at {self.at!r} has no reason: give why")


_DURATION = "how long something took is another number in every run"
_ENDS = "special functions of scipy's and other versions may differ in the last places"
_PYTEST_ORDER = "the order in which tests run"
_BY_NAME = "a list of named things, which a registry may list in another order"
_CHECKED = (
    "sipit_recovers",
    "states_recoverable",
    "not_recoverable",
    "utility_kept",
    "not_read_by_reference",
)
_RATES = (
    *(f"*{check}*/interval" for check in _CHECKED),
    *("attacks/*/tokens", "attacks/*/whole", "attacks/*/by_position/*", "attacks/*/by_kind/*"),
    *("agreement", "guessed", "sipit", "reference_sipit", "SipIt*"),
    *("argmin_prompts", "argmin_tokens", "ball_prompts", "ball_tokens"),
)

_SPELLING = "words are spelled as the libraries of the field spell them"
_NORMALIZED = "normalized numbers stand in JSON beside the raw ones"
# What the rooms of one noun changed in JSON and texts.
_ROOMS: tuple[Rule, ...] = (
    Rule("renamed", "a release is no layer", "reasons/*/layer", to="where"),
    Rule("added", "what `where` names: a layer or a release", "reasons/*/unit"),
    Rule("renamed", _SPELLING, "quantised", to="quantized"),
    Rule("phrase", _SPELLING, was="quantised", to="quantized"),
    Rule("phrase", _SPELLING, was="neighbour", to="neighbor"),
    Rule("phrase", _SPELLING, was="normalised", to="normalized"),
    Rule("renamed", "the field's word", "attacks/*/forced", to="teacher_forced"),
    *(
        Rule("added", _NORMALIZED, f"layers*/normalized_{one}")
        for one in ("margin", "margin_q", "colipschitz", "colipschitz_q")
    ),
    Rule(
        "numbers only",
        "of metrics that changed by equal shares the first of the table is named, whose order is new",
        "*matches_baseline*/quantity",
    ),
    Rule(
        "mended",
        "the joint search crashed where all prompts begin with a known token, such as BOS",
        "privacy/framed identity@* last",
    ),
)

_PAGE = "new: what the page draws of distances, of recoveries and of how states lie"

RULES: tuple[Rule, ...] = (
    *_ROOMS,
    Rule("added", _PAGE, "layers*/nearest"),
    *(Rule("added", _PAGE, f"figures/{one}") for one in ("prompts", "tokens", "failed_at_*")),
    *(Rule("added", _PAGE, f"layers*/{one}") for one in ("anisotropy", "intrinsic_dimension")),
    Rule("left out", _DURATION, "seconds"),
    Rule("scrubbed", _DURATION, was=r"([,;] )?\b\d+(\.\d+)? s\b"),
    Rule("left out", "a command line, in which flags may be renamed", "reproduce"),
    Rule("left out", "a command line, in which flags may be renamed", "outcome/command"),
    Rule("left out", "a key of hashes may be drawn for each run", "hash_key"),
    Rule("left out", "when a run was made, and at which commit", "origin"),
    Rule("left out", "raised where a field changes its meaning", "schema"),
    Rule("left out", "this package's own version changes with a release", "versions/*"),
    Rule("unordered", _PYTEST_ORDER, "layers"),
    Rule("unordered", _PYTEST_ORDER, "comparisons"),
    Rule("unordered", _PYTEST_ORDER, "releases"),
    Rule("unordered", _PYTEST_ORDER, "verdicts"),
    Rule("unordered", _BY_NAME, "attacks"),
    *(Rule("close", _ENDS, f"{rate}/{end}") for rate in _RATES for end in ("low", "high")),
    Rule("close", "an interval's end is what is judged", "*not_read_by_reference*/value"),
    Rule("close", "an interval's end would have passed", "*not_read_by_reference*/would_pass"),
    Rule("close", "an interval's end would have passed", "*not_recoverable*/would_pass"),
)


@dataclass
class Rules:
    """Rules by kind, and how often each was used.

    Attributes:
        rules: the first that fits counts.
        used: how often, by rule.
    """

    rules: Sequence[Rule] = RULES
    used: Counter[Rule] = field(default_factory=Counter)

    def first(self, kind: Kind, path: str) -> Rule | None:
        """The first rule of a kind for a path."""
        return next(iter(self.every(kind, path)), None)

    def every(self, kind: Kind, path: str) -> Iterable[Rule]:
        """Every rule of a kind for a path."""
        for rule in self.rules:
            if rule.kind == kind and _pattern(rule.at).fullmatch(path):
                self.used[rule] += 1
                yield rule


def read_rules(path: Path | None) -> Rules:
    """The table's rules, and before them those of a mapping file where one is given.

    Raises:
        ValueError: the file is no list of rules.
    """
    if path is None:
        return Rules()
    given = json.loads(path.read_text(encoding="utf-8"))
    known = {one.name for one in fields(Rule)}
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ValueError(f"{path} is no list of rules: give [{{'kind': …, 'at': …, 'why': …}}]")
    if unknown := sorted({key for one in given for key in one} - known):
        raise ValueError(f"{path}: {unknown} are not accepted: give {sorted(known)}")
    return Rules((*(Rule(**one) for one in given), *RULES))


@cache
def _pattern(at: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*/)?{fnmatch.translate(at)}", re.DOTALL)
