"""Inverts prompts with SipIt in workers, where the run has some."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.audit.target.worker_model import WorkerModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_injectivity.core.layers import Layer
    from pytest_injectivity.inversion.recovery import Inversion
    from pytest_injectivity.inversion.recovery_parts import Asked, Part
    from pytest_injectivity.inversion.sipit import Settings
    from pytest_injectivity.inversion.verifiers import Tolerance


@dataclass(frozen=True)
class _Job:
    """Does a part of an inversion with the worker's model."""

    name: str
    model: WorkerModel
    asked: "Asked"

    def __call__(self, part: "Part") -> Any:
        """Does it."""
        return part.run(self.model.prepared(self.name, self.asked.sipit))


def recovered_by_workers(
    target: Target,
    prompts: "Sequence[tuple[int, ...]]",
    layer: "Layer",
    *,
    eps: "Tolerance",
    certify: int | None,
    settings: "Settings",
    progress: "Callable[[int], None]",
) -> "Inversion | None":
    """The inversion of a model's own states of prompts; None where the run has no workers.

    A model whose blocks are read from disk one at a time is inverted in this process.

    Args:
        target: the model.
        prompts: token ids.
        layer: the layer inverted.
        eps: as for `recover_all`.
        certify: likewise.
        settings: likewise; the policy is a name.
        progress: likewise.
    """
    if target.executor is None or target.streams:
        return None
    from pytest_injectivity.inversion.recovery_parts import recover_in_parts

    name, model = secrets.token_hex(8), WorkerModel.of(target)
    return recover_in_parts(
        target.executor,
        lambda asked: _Job(name, model, asked),
        prompts,
        layer,
        eps=eps,
        certify=certify,
        progress=progress,
        **settings,
    )
