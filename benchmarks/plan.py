"""How near the predictions of a plan are: each phase predicted, then done and timed.

    python benchmarks/plan.py MODEL --prompts PROMPTS [--max-prompts N] [--layer L] [--invert N]

Prints a line a phase: predicted and actual seconds, and their ratio. The store is a new one each time.
"""

import argparse
import time
from collections.abc import Callable

import torch

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.audit.measurements.recovery import Attempt, recovered
from pytest_injectivity.results.plan import Phase


def main() -> None:
    """Predict, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--max-prompts", type=int)
    parser.add_argument("--layer", type=int, default=-1)
    parser.add_argument("--invert", type=int, default=5, help="prompts of 10 tokens inverted")
    parser.add_argument("--certify", type=int, default=1)
    given = parser.parse_args()
    config = AuditConfig(
        model=given.model,
        prompts=given.prompts,
        max_prompts=given.max_prompts,
        overlong="drop",
        no_cache=True,
    )
    audit = Audit(config)
    target, measured = audit.target, audit.measurements
    layer = target.one_layer(given.layer)
    costs = target.foretelling.costs(target.foretelling.rates)
    attempt = Attempt(0.0, None, given.invert, 10, "lens", given.certify)
    print(f"{given.model}: {len(audit.prompts)} prompts, {torch.get_num_threads()} threads")
    print(f"{target.foretelling.rates}")
    rows = len(audit.prompts)

    _line(costs.capture(audit.layers), lambda: measured.states(layer))
    search = target.foretelling.rates
    _line(
        Phase("nearest neighbors", f"{rows} rows", search.neighbors.seconds(rows)),
        lambda: measured.geometry(layer).nearest,
    )
    _line(
        Phase("co-Lipschitz constants", f"{rows} rows", search.ratios.seconds(rows)),
        lambda: measured.geometry(layer).colipschitz_rows,
    )
    _line(costs.resolution(audit.layers), lambda: measured.is_finite(layer))
    _line(
        costs.sipit(layer, prompts=given.invert, tokens=10, certify=given.certify),
        lambda: recovered(measured, layer, attempt),
    )


def _line(phase: Phase, work: Callable[[], object]) -> None:
    begun = time.perf_counter()
    work()
    took = time.perf_counter() - begun
    print(
        f"{phase.name:24} predicted {phase.seconds:8.2f} s  actual {took:8.2f} s"
        f"  ratio {phase.seconds / took:5.2f}  {phase.what}"
    )


if __name__ == "__main__":
    main()
