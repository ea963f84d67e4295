"""What the store saves: an audit of 100,000 prompts cold, warm, killed half-way and resumed.

    ./dev bench store --model ../shared/models/gpt2-1m

Each run is a process of its own with a store in a temporary folder: it captures all layers and
prints margins, collisions and co-Lipschitz constants of each. Peak memory is the process's own
high-water mark.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from machine import machine
from rich.console import Console
from rich.table import Table

SCRIPT = """
import resource, sys
from pytest_injectivity import Audit, AuditConfig
model, prompts, folder, length, eps, budget = sys.argv[1:]
audit = Audit(AuditConfig(model=model, prompts="builtin:stdlib", max_prompts=int(prompts),
    length=int(length), cache_dir=folder, memory_budget=budget))
audit.check_no_collisions("all", eps=eps)
for layer in audit.layers:
    audit.check_margin_above(layer, 1e-12)
    audit.check_colipschitz_above(layer, 1e-12)
# The high-water mark is in KB on Linux.
print(len(audit.prompts), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    audit.target.loaded)
"""


class Run(NamedTuple):
    """One finished run."""

    seconds: float
    prompts: int
    gigabytes: float
    loaded: bool


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """The audit in a process of its own."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.Popen(  # noqa: S603 - this file's own script
        command, stdout=subprocess.PIPE, text=True, env=environment
    )


def run(arguments: Sequence[str]) -> Run:
    """Time one audit."""
    began = time.perf_counter()
    process = start(arguments)
    printed, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the audit ended with {process.returncode}")
    prompts, kilobytes, loaded = printed.split()
    taken = time.perf_counter() - began
    return Run(taken, int(prompts), int(kilobytes) / 2**20, loaded == "True")


def told(name: str, finished: Run) -> Run:
    """Say what a run gave as soon as it is there: they take minutes."""
    print(f"{name}: {finished}", flush=True)
    return finished


def killed(arguments: Sequence[str], after: float) -> None:
    """Start an audit and kill it."""
    process = start(arguments)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", default="100000")
    parser.add_argument("--length", default="20")
    parser.add_argument("--budget", default="1GB")
    given = parser.parse_args()

    def arguments(folder: Path, eps: str) -> list[str]:
        return [given.model, given.prompts, str(folder), given.length, eps, given.budget]

    with tempfile.TemporaryDirectory() as root:
        one, other = Path(root) / "one", Path(root) / "other"
        cold = told("cold", run(arguments(one, "1e-6 rel")))
        warm = told("warm", run(arguments(one, "1e-6 rel")))
        again = told("warm, another eps", run(arguments(one, "1e-4 rel")))
        killed(arguments(other, "1e-6 rel"), cold.seconds / 2)
        resumed = told("after a kill", run(arguments(other, "1e-6 rel")))
    table = Table(title=f"{Path(given.model).name}, {cold.prompts} prompts", title_justify="left")
    for title in ("run", "time", "of the cold one", "peak memory", "weights loaded"):
        table.add_column(title, justify="left" if title == "run" else "right")
    rows = {
        "cold": cold,
        "warm": warm,
        "warm, another eps": again,
        "after a kill at half the time": resumed,
    }
    for name, one_run in rows.items():
        table.add_row(
            name,
            f"{one_run.seconds:.1f} s",
            f"{100 * one_run.seconds / cold.seconds:.0f} %",
            f"{one_run.gigabytes:.2f} GB",
            "yes" if one_run.loaded else "no",
        )
    console = Console(width=100)
    console.print(table)
    console.print(machine())


if __name__ == "__main__":
    main()
