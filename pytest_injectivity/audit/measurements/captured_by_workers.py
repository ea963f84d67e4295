"""Captures the states of a prompt set in workers, where the run has some."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.audit.target.worker_model import WorkerModel
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Bool

if TYPE_CHECKING:
    import numpy as np

    from pytest_injectivity.states.capture_parts import CapturedPart, CapturePart
    from pytest_injectivity.states.sinks import Progress, Sink


@dataclass(frozen=True)
class _Job:
    """Captures a part with the worker's model."""

    model: WorkerModel
    batch_tokens: int

    def __call__(self, part: "CapturePart") -> "CapturedPart":
        """Captures it."""
        from pytest_injectivity.states.capture_parts import capture_part

        return capture_part(self.model.decoder(), part, self.batch_tokens)


def captured_by_workers(
    target: Target,
    done: "Mapping[Layer, Bool[np.ndarray, ' prompts']]",
    sink: "Sink",
    *,
    row_bytes: int,
    progress: "Progress",
) -> bool:
    """Captures what is not done, and says whether it did; the rows are those of one process.

    There is nothing to share out where the run has no workers or the rest is one part. A model whose
    blocks are read from disk one at a time is read once for all prompts, in this process.

    Args:
        target: the model, whose weights this process lets go meanwhile, and the prompts.
        done: the layers wanted, and of each the prompts whose rows are there already.
        sink: takes the rows.
        row_bytes: bytes of a row of one layer.
        progress: told how many prompts are done.
    """
    if target.executor is None or target.streams:
        return False
    from pytest_injectivity.states.capture_parts import capture_in_parts, parts_of

    prompts, facts, executor = target.prompts.ids, target.facts, target.executor
    parts = parts_of(
        prompts,
        done,
        workers=executor.count,
        row_bytes=row_bytes,
        context=facts.context,
        batch_tokens=target.config.batch_tokens,
    )
    if len(parts) == 1:
        return False
    job = _Job(WorkerModel.of(target), target.config.batch_tokens)
    for one in (target, target.beside):
        if one is not None:
            one.unload()
    capture_in_parts(
        executor,
        job,
        parts,
        sink,
        total=len(prompts),
        progress=progress,
        announce=target.watcher.announce,
    )
    return True
