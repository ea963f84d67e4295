"""Makes a history of one report: ten days of it with noise, and a drift at one layer on the last day.

``python scripts/planted_history.py REPORT.json FOLDER [--drift 0.05] [--layer norm]``
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pytest_injectivity.results.metrics import METRICS

NOISE = 5e-6
"""What machines differ by in float32, as a share of a number (docs/log.md)."""
DAYS = 10
NUMBERS = tuple(
    one.name for one in METRICS if one.tolerance and one.tolerance < 1.0 and not one.rungs
)


def planted(report: dict[str, Any], day: int, layer: str, share: float) -> dict[str, Any]:
    """The report of a day, whose numbers at one layer are smaller by a share."""
    draw = random.Random(day)  # noqa: S311 - no secret
    made: dict[str, Any] = json.loads(json.dumps(report))
    for one in made["layers"]:
        for name in NUMBERS:
            if one[name] is not None:
                kept = 1.0 - share if one["layer"] == layer else 1.0
                one[name] *= kept * (1.0 + NOISE * draw.gauss(0.0, 1.0))
    first = datetime.fromisoformat("2026-11-01T08:00:00+00:00")
    date = (first + timedelta(days=day)).isoformat()
    made["origin"] = {"date": date, "commit": f"{draw.getrandbits(160):040x}"}
    return made


def main(arguments: Sequence[str]) -> None:
    """Write the reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--drift", type=float, default=0.05)
    parser.add_argument("--layer", default="norm")
    given = parser.parse_args(arguments)
    report = json.loads(given.report.read_text(encoding="utf-8"))
    given.folder.mkdir(parents=True, exist_ok=True)
    for day in range(DAYS):
        share = given.drift if day == DAYS - 1 else 0.0
        made = planted(report, day, given.layer, share)
        path = given.folder / f"day{day + 1:02d}.json"
        path.write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
