"""Pasts of made-up numbers: reports of one model in the order of days."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.recordings import NUMBERS, layer, report

LAYERS = ("layer01", "layer02", "layer03", "norm")
CONTINUOUS = tuple(name for name, value in NUMBERS.items() if isinstance(value, float))

Factor = Callable[[int, str, str], float]
"""What a number is multiplied by: of the run's place, the layer and the metric."""


def same(_run: int, _label: str, _metric: str) -> float:
    """Nothing changes."""
    return 1.0


def noisy(size: float, seed: int = 0) -> Factor:
    """Gaussian noise of this size, as a share of the number, new for each number of each run."""
    return lambda run, label, metric: max(
        0.0,
        1.0 + size * random.Random(f"{seed} {run} {label} {metric}").gauss(0.0, 1.0),  # noqa: S311 - no secret
    )


def dated(report: Mapping[str, Any], run: int) -> dict[str, Any]:
    """A report with the day and the commit of a run."""
    day, commit = f"2026-10-{run + 1:02d}T08:00:00+00:00", f"{run:040x}"
    return {**report, "origin": {"date": day, "commit": commit}}


def past_report(run: int, factor: Factor = same, **given: Any) -> dict[str, Any]:
    """The report of a run."""
    layers = [
        layer(label, **{name: NUMBERS[name] * factor(run, label, name) for name in CONTINUOUS})
        for label in LAYERS
    ]
    return dated(report(*layers, **given), run)


def past(folder: Path, factor: Factor = same, runs: int = 10) -> Path:
    """Write the reports of some runs into a folder."""
    return written(folder, [past_report(run, factor) for run in range(runs)])


def written(folder: Path, reports: Sequence[Mapping[str, Any]]) -> Path:
    """Write reports into a folder, by number."""
    folder.mkdir(exist_ok=True)
    for at, one in enumerate(reports):
        (folder / f"run{at:02d}.json").write_text(json.dumps(one))
    return folder


def verdict(status: str, check: str = "margin_above", where: str = "norm") -> dict[str, Any]:
    """A verdict on one place."""
    return {
        "check": check,
        "status": status,
        "first_line": "",
        "reasons": [
            {
                "where": where,
                "status": status,
                "quantity": "separation margin",
                "value": NUMBERS["margin_q"],
                "bound": 1.0,
                "relation": ">=",
            }
        ],
        "subject": "",
        "reproduce": "",
    }
