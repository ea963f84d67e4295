"""Compares two files of numbers to the last bit, apart from what the table of rules allows.

    ./dev numbers same OLD.json NEW.json [--mapping RULES.json]

The files are two of ``record_numbers.py``, or two reports of ``--injx-report=json:PATH``. Prints the
differences by path, how many numbers were compared, and which rules of `number_rules` were used. Exits
with 0 where all numbers are equal, 1 where any value differs, 2 where no number was compared.
"""

import argparse
import json
import math
import re
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from number_rules import Rules, read_rules

CLOSE = 1e-9
MOST, LONGEST = 40, 160
# What names an item of a list, in this order.
NAMES = (
    *("check", "model", "layer", "where", "bits", "length"),
    *("release", "place", "attacker", "teacher_forced", "strength", "nodeid"),
)
ABSENT = "absent"
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])", re.IGNORECASE)


class Difference(NamedTuple):
    """Where two files differ, and what stands there in each."""

    path: str
    old: str
    new: str


@dataclass
class Comparison:
    """What came of comparing two files.

    Attributes:
        rules: what they may differ in.
        numbers: how many numbers were compared.
        texts: how many texts.
        differences: where they differ, in the old file's order.
    """

    rules: Rules
    numbers: int = 0
    texts: int = 0
    differences: list[Difference] = field(default_factory=list)

    def compare(self, old: object, new: object, path: str) -> None:
        """Compares two values, whose keys have their new names."""
        if _is_error(old) and not _is_error(new) and self.rules.first("mended", path):
            return
        if isinstance(old, dict) and isinstance(new, dict):
            self._objects(old, new, path)
        elif isinstance(old, list) and isinstance(new, list):
            self._lists(old, new, path)
        elif (was := _number(old)) is not None and (now := _number(new)) is not None:
            self.numbers += 1
            if not _equal(was, now) and not (_close(was, now) and self._is_close(path)):
                self._differ(path, old, new)
        elif isinstance(old, str) and isinstance(new, str):
            self.texts += 1
            if not self._same_text(old, new, path):
                self._differ(path, old, new)
        elif type(old) is not type(new) or old != new:
            self._differ(path, old, new)

    def _objects(self, old: dict[str, Any], new: dict[str, Any], path: str) -> None:
        for key in dict.fromkeys((*old, *new)):
            below = _below(path, key, old.get(key, new.get(key)))
            if self.rules.first("left out", below):
                continue
            if key in old and key in new:
                self.compare(old[key], new[key], below)
            elif key in old or self.rules.first("added", below) is None:
                self._differ(below, old.get(key, ABSENT), new.get(key, ABSENT))

    def _lists(self, old: list[Any], new: list[Any], path: str) -> None:
        unordered = self.rules.first("unordered", path) is not None
        pairs = list(_paired(old, new) if unordered else enumerate(zip(old, new, strict=False)))
        for at, (was, now) in pairs:
            self.compare(was, now, f"{path}/[{_joined(str(at), _name(was))}]")
        if not len(pairs) == len(old) == len(new):
            names = [[_name(item) or item for item in one] for one in (old, new)]
            self._differ(path, *(f"{len(one)} items: {one}" for one in names))

    def _same_text(self, old: str, new: str, path: str) -> bool:
        if old == new:
            return True
        for rule in self.rules.every("scrubbed", path):
            old, new = (re.sub(rule.was, "", text) for text in (old, new))
        if old == new:
            return True
        numbers = [[float(one) for one in _NUMBER.findall(text)] for text in (old, new)]
        if len(numbers[0]) != len(numbers[1]):
            return False
        pairs = list(zip(*numbers, strict=True))
        if all(was == now for was, now in pairs):
            return self.rules.first("numbers only", path) is not None
        same_words = _NUMBER.sub("", old) == _NUMBER.sub("", new)
        return same_words and all(_close(*pair) for pair in pairs) and self._is_close(path)

    def _is_close(self, path: str) -> bool:
        return self.rules.first("close", path) is not None

    def _differ(self, path: str, old: object, new: object) -> None:
        self.differences.append(Difference(path, _short(old), _short(new)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares two files; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--mapping", type=Path, help="further rules, as number_rules says")
    parser.add_argument("--most", type=int, default=MOST, help="differences that are shown")
    given = parser.parse_args(arguments)
    try:
        rules = read_rules(given.mapping)
        old, new = (json.loads(one.read_text(encoding="utf-8")) for one in (given.old, given.new))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    found = Comparison(rules)
    found.compare(renewed(old, "", rules), new, "")
    for one in found.differences[: given.most]:
        print(f"{one.path}\n    old: {one.old}\n    new: {one.new}")
    if (left := len(found.differences) - given.most) > 0:
        print(f"… and {left} more differences")
    for rule, times in rules.used.items():
        print(f"{rule.kind}: {_joined(rule.at, str(rule.was or ''))}, {times} times: {rule.why}")
    counted = f"{found.numbers:,} numbers and {found.texts:,} texts compared"
    print(f"{counted}: {len(found.differences):,} differences")
    if not found.numbers:
        print("no number was compared", file=sys.stderr)
        return 2
    return 1 if found.differences else 0


def renewed(value: Any, path: str, rules: Rules) -> Any:
    """A value of the old file as the new one is to have it: keys, values and phrases renamed.

    Raises:
        ValueError: two keys of one object get the same name.
    """
    if isinstance(value, dict):
        keys = {
            key: rules.first("renamed", _below(path, key, child)) for key, child in value.items()
        }
        names = [key if rule is None else rule.to for key, rule in keys.items()]
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: two keys are renamed to one in {names}")
        children = (renewed(one, _below(path, key, one), rules) for key, one in value.items())
        return dict(zip(names, children, strict=True))
    if isinstance(value, list):
        return [
            renewed(one, f"{path}/[{_joined(str(at), _name(one))}]", rules)
            for at, one in enumerate(value)
        ]
    for rule in rules.every("value", path):
        if value == rule.was:
            return rule.to
    if isinstance(value, str):
        for rule in rules.every("phrase", path):
            value = value.replace(rule.was, rule.to)
    return value


def _below(path: str, key: str, child: object) -> str:
    check = child.get("check") if isinstance(child, dict) else None
    return f"{path}/{_joined(key, str(check or ''))}"


def _name(item: object) -> str:
    """What names an item of a list; of a verdict its layers too. Empty where nothing does."""
    if not isinstance(item, dict):
        return ""
    named = [str(item[one]) for one in NAMES if isinstance(item.get(one), (str, int))]
    reasons = item.get("reasons")
    return _joined(*named, *map(_name, reasons if isinstance(reasons, list) else ()))


def _paired(old: list[Any], new: list[Any]) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Items of one name, in the order they have among themselves."""
    waiting = defaultdict(list)
    for item in reversed(new):
        waiting[_name(item) or repr(item)].append(item)
    for at, item in enumerate(old):
        if named := waiting[_name(item) or repr(item)]:
            yield at, (item, named.pop())


def _is_error(value: object) -> bool:
    """Whether something raised, as ``record_numbers.py`` writes it."""
    return isinstance(value, dict) and value.keys() == {"error"}


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)


def _number(value: object) -> int | float | None:
    """A number, written as JSON has it or as a text such as ``nan``; None for anything else."""
    if isinstance(value, str) and value.lower() in ("nan", "inf", "-inf"):
        return float(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _equal(old: float, new: float) -> bool:
    """Whether two numbers are the same to the last bit; a NaN is the same as any other."""
    if isinstance(old, int) or isinstance(new, int):
        return old == new
    both_nan = math.isnan(old) and math.isnan(new)
    return both_nan or struct.pack("<d", old) == struct.pack("<d", new)


def _close(old: float, new: float) -> bool:
    return abs(old - new) <= CLOSE


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


if __name__ == "__main__":
    sys.exit(main())
