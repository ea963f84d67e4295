"""How near the predictions of a plan are: each phase predicted, then done and timed.

    python benchmarks/plan.py MODEL --prompts PROMPTS [--max-prompts N] [--layer L] [--invert N]
    python benchmarks/plan.py MODEL --prompts PROMPTS --length 8 --layer L --collide all block --cpu
    python benchmarks/plan.py RUN/checkpoint-STEP --prompts PROMPTS --training --cpu

Prints a line a phase: predicted and actual seconds, and their ratio. The store is a new one each time.
With ``--cpu`` seconds are those that this process computed, in rates and phases: what to compare where
other work goes on beside and one thread computes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.audit.measurements.collision_phase import collision_phase
from pytest_injectivity.audit.measurements.discriminants import COMPARED
from pytest_injectivity.audit.measurements.recovery import Attempt, recovered
from pytest_injectivity.audit.planning.needs import Need
from pytest_injectivity.audit.planning.phases import Loading, phases_of
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.training_steps import list_checkpoints
from pytest_injectivity.plan.calibration import Clock, calibrate
from pytest_injectivity.plan.costs import Costs
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
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
    parser.add_argument("--length", type=int, help="of windows of the prompts")
    parser.add_argument("--collide", nargs="+", default=(), help="weights that may change")
    parser.add_argument("--training", action="store_true", help="the checkpoints beside the model")
    parser.add_argument("--cpu", action="store_true", help="seconds of this process")
    given = parser.parse_args()
    clock = time.process_time if given.cpu else time.perf_counter
    config = AuditConfig(
        model=given.model,
        prompts=given.prompts,
        max_prompts=given.max_prompts,
        length=given.length,
        overlong="drop",
        no_cache=True,
    )
    audit = Audit(config)
    target, measured = audit.target, audit.measurements
    layer = target.one_layer(given.layer)
    rates = calibrate(
        target.decoder,
        PairDistances(PromptMetric.LEVENSHTEIN, target.prompts.ids),
        batch_tokens=config.batch_tokens,
        clock=clock,
    )
    costs = target.foretelling.costs(rates)
    attempt = Attempt(0.0, None, given.invert, 10, "lens", given.certify)
    print(f"{given.model}: {len(audit.prompts)} prompts, {torch.get_num_threads()} threads")
    print(f"{rates}")
    if given.collide:
        _collide(audit, costs, layer, given.collide, clock)
        return
    if given.training:
        _training(audit, costs, clock)
        return
    rows = len(audit.prompts)

    _line(costs.capture(audit.layers), lambda: measured.states(layer), clock)
    _line(
        Phase("nearest neighbors", f"{rows} rows", rates.neighbors.seconds(rows)),
        lambda: measured.geometry(layer).nearest,
        clock,
    )
    _line(
        Phase("co-Lipschitz constants", f"{rows} rows", rates.ratios.seconds(rows)),
        lambda: measured.geometry(layer).colipschitz_rows,
        clock,
    )
    _line(costs.resolution(audit.layers), lambda: measured.is_finite(layer), clock)
    _line(
        costs.sipit(layer, prompts=given.invert, tokens=10, certify=given.certify),
        lambda: recovered(measured, layer, attempt),
        clock,
    )


def _collide(audit: Audit, costs: Costs, layer: Layer, every: Sequence[str], clock: Clock) -> None:
    """Searches for a change at which the closest pair collides, over each of some weights."""
    nearest = audit.geometry(layer).nearest
    one = int(nearest.distance.argmin())
    pair = one, int(nearest.index[one])
    for over in every:
        place = layer, pair, layer if over == "block" else over
        phase = collision_phase(costs, {layer: 1}, over, roundings=len(COMPARED))
        search = partial(audit.measurements.discriminants.of, [place], COMPARED)
        _line(phase, search, clock)
        least, most = phase.span
        print(f"  between {least:.2f} and {most:.2f} s; it took {search()[place].steps} steps")


def _training(audit: Audit, costs: Costs, clock: Clock) -> None:
    """Measures every checkpoint beside the model, this one among them."""
    every = list_checkpoints(audit.config.model)
    begun = clock()
    load_decoder(audit.config.model)
    loading = Loading("", "", clock() - begun, 0, beginnings=1)
    needs = [Need("training", audit.layers, others=len(every))]
    (phase,) = phases_of(needs, costs, loading)
    _line(phase, lambda: audit.along_training().points, clock)


def _line(phase: Phase, work: Callable[[], object], clock: Clock) -> None:
    begun = clock()
    work()
    took = clock() - begun
    print(
        f"{phase.name:24} predicted {phase.seconds:8.2f} s  actual {took:8.2f} s"
        f"  ratio {phase.seconds / took:5.2f}  {phase.what}"
    )


if __name__ == "__main__":
    main()
