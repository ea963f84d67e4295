"""Workers of Ray against one process: bits, seconds, and workers that are killed.

    OMP_NUM_THREADS=1 ./dev bench workers MODEL [--prompts 2000 --workers 2 --kills 10 --sipit 400]

So each worker computes on as many threads as the one process; without it the workers share the cores. In
each capture after the first ones a random worker gets SIGKILL at a random moment. Last, prompts of 20
tokens are recovered from the middle layer, by one process and by the workers in turn.
"""

import argparse
import hashlib
import os
import random
import signal
import threading
import time
from typing import Self

import psutil
import torch

from pytest_injectivity import Audit, AuditConfig, RayWorkers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--source", default="builtin:stdlib")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--sipit", type=int, default=0)
    given = parser.parse_args()
    config = AuditConfig(
        model=given.model,
        prompts=given.source,
        max_prompts=given.prompts,
        dtype=given.dtype,
        overlong="drop",
        no_cache=True,
    )
    one, alone = captured(config, None)
    print(f"one process: {alone:.1f} s")
    if given.workers > 1:
        by_itself = RayWorkers(1)
        single = twice(config, by_itself, one)
        by_itself.close()
        print(f"overhead of one worker that has loaded: {100 * (single / alone - 1):.0f} %")
    executor = RayWorkers(given.workers)
    together = twice(config, executor, one)
    print(f"efficiency of {given.workers}: {alone / (given.workers * together):.2f} a worker")
    draw = random.Random(0)  # noqa: S311 - moments, no secrets
    kills, same, seconds = 0, 0, together
    captures = 0
    while kills < given.kills and captures < 3 * given.kills:
        captures += 1
        with Killer(draw, latest=seconds) as killer:
            found, seconds = captured(config, executor)
        kills += killer.killed
        same += found == one
        print(f"killed {killer.killed}: {seconds:.1f} s, same bits: {found == one}")
    print(f"{kills} workers killed in {captures} captures, {same} of them with the same bits")
    for _ in range(3 if given.sipit else 0):
        (found, alone), (shared, together) = (
            recovered(config, one, given.sipit) for one in (None, executor)
        )
        print(
            f"SipIt: one process {alone:.1f} s, workers {together:.1f} s, same: {found == shared}"
        )
    executor.close()


def twice(config: AuditConfig, executor: RayWorkers, expected: str) -> float:
    """Seconds of a capture by workers that have loaded, after one in which they load."""
    started = time.perf_counter()
    list(executor.map(abs, range(executor.count)))
    print(f"cluster and first workers started in {time.perf_counter() - started:.1f} s")
    seconds = 0.0
    for said in ("with their imports and loading", "again, in another empty store"):
        found, seconds = captured(config, executor)
        print(f"{executor.count} workers, {said}: {seconds:.1f} s, same bits: {found == expected}")
    return seconds


def captured(config: AuditConfig, executor: RayWorkers | None) -> tuple[str, float]:
    """A digest of all rows of all layers, captured in an empty store, and the seconds it took."""
    audit = Audit(config, executor=executor)
    _ = len(audit.prompts), audit.facts  # loaded before the clock runs
    if executor is None:
        _ = audit.decoder
    started = time.perf_counter()
    digest = hashlib.sha256()
    for layer in audit.layers:
        digest.update(audit.states(layer).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest(), time.perf_counter() - started


def recovered(config: AuditConfig, executor: RayWorkers | None, prompts: int) -> tuple[str, float]:
    """What is said of prompts that SipIt recovers in an empty store, and the seconds it took."""
    audit = Audit(config, executor=executor)
    layer = audit.layers[len(audit.layers) // 2]
    _ = audit.decoder, audit.measurements.resolution(layer).radii
    started = time.perf_counter()
    verdict = audit.check_sipit_recovers(layer, prompts=prompts, tokens=20)
    said = repr([(one.evidence, one.figures) for one in verdict.reasons])
    return said, time.perf_counter() - started


class Killer:
    """Kills a worker at a random moment of what is done within this context, or the first one after it.

    Args:
        draw: the moment and the worker.
        latest: seconds.
    """

    def __init__(self, draw: random.Random, latest: float) -> None:
        self.killed = 0
        self._draw = draw
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(draw.uniform(0, latest),))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self, moment: float) -> None:
        self._ended.wait(moment)
        while not self._ended.wait(0.01) and not self.killed:
            children = psutil.Process().children(recursive=True)
            if workers := [one for one in children if one.name().startswith("ray::_Actor")]:
                os.kill(self._draw.choice(workers).pid, signal.SIGKILL)
                self.killed = 1


if __name__ == "__main__":
    main()
