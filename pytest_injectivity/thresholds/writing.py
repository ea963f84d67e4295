"""Thresholds from measured values, as the values of an ini, with their reasons and their sample."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_injectivity.core.ini_text import IniValue
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.core.versions import version
from pytest_injectivity.thresholds.calibrated import CALIBRATED, Calibrated
from pytest_injectivity.thresholds.measuring import Child, Measurement, Value
from pytest_injectivity.thresholds.precision import Precision
from pytest_injectivity.thresholds.rows import Row

PROVED = "proved"
"""What the ini says instead of a number that the bits decide that were proved of a model."""

SAMPLE = "gate_calibration"
"""The name of the ini value that says what the thresholds were measured on."""

_WIDTH = 100
_VERSIONED = ("pytest-injectivity", "torch", "transformers")


@dataclass(frozen=True)
class Threshold:
    """A calibrated threshold of one precision, or of all models.

    Attributes:
        row: the threshold.
        worst: the value that it comes from.
    """

    row: Row
    worst: Value


def thresholds_of(measured: Measurement, of: Calibrated) -> tuple[Threshold, ...]:
    """One threshold of a measurement: for each precision, the most bits first, or for all models.

    There is none where no child is stored dense and only these are measured.

    Args:
        measured: the values.
        of: which threshold.
    """
    doublings = measured.samples.doublings
    groups: dict[Precision | None, list[Child]] = {}
    for child in (one for one in measured.children if one.dense or not of.dense):
        groups.setdefault(child.precision if of.each else None, []).append(child)
    found: list[Threshold] = []
    for precision in sorted(groups, key=lambda one: -one.bits if one else 0.0):
        values = [one for child in groups[precision] for one in child.values if one.of is of]
        worst = max(values, key=lambda one: of.rule.badness(one.value))
        found.append(Threshold(Row(precision, of.rule.of(worst.value, doublings)), worst))
    return tuple(found)


def ini_values(measured: Measurement, date: str, *, any_other: bool = False) -> list[IniValue]:
    """The values of an ini that hold the thresholds of a measurement, and its sample.

    Args:
        measured: the values.
        date: of the measurement.
        any_other: whether other precisions are judged too, by the most lenient row of each threshold.
    """
    written = [_sample(measured, date)]
    for of in CALIBRATED:
        found = thresholds_of(measured, of)
        rows = [one.row for one in found]
        if any_other and of.each and not of.dense:
            # Of a lower bound the worst value has the smallest one, of an upper bound the largest.
            worst = max(found, key=lambda one: of.rule.badness(one.worst.value))
            rows.append(Row(None, worst.row.value))
        lines = [str(row) for row in rows] if of.each else [f"{rows[0].value:g}"]
        lines = lines or [PROVED]
        written.append(IniValue(name=of.name, lines=tuple(lines), comment=_reason(of, found)))
    return written


def _sample(measured: Measurement, date: str) -> IniValue:
    """What was measured, on what, and when."""
    samples = measured.samples
    lines = [f"parent {measured.parent}"]
    lines += [f"child {child.name}: {child.precision}" for child in measured.children]
    drawn = number_of(len(samples.sets), "sample")
    lines += [
        f"prompts {measured.prompts}: {drawn} of {samples.size}, together [{samples.hash[:12]}]",
        f"the gate judges {samples.judged} {'others' if samples.apart else 'of the same'}",
        f"seed {measured.seed}, {date}, "
        + ", ".join(f"{name} {version(name)}" for name in _VERSIONED),
    ]
    said = ("What the thresholds were measured on, by pytest-injectivity calibrate.",)
    return IniValue(name=SAMPLE, lines=tuple(lines), comment=said)


def _reason(of: Calibrated, found: Iterable[Threshold]) -> tuple[str, ...]:
    """What a threshold bounds, its rule, and the values that it comes from."""
    values = _values(found) or "none; elsewhere the bits that were proved decide"
    said = f"{of.words}: {of.rule.said}. Measured: {values}."
    return tuple(textwrap.wrap(said, _WIDTH - 2, break_on_hyphens=False))


def _values(found: Iterable[Threshold]) -> str:
    said = [
        f"{'' if one.row.precision is None else f'{one.row.precision} '}{show(one.worst.value)}"
        f" at {one.worst.layer}"
        for one in found
    ]
    return ", ".join(said)
