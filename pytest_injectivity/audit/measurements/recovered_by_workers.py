"""Inverts states with SipIt, in workers where the run has some."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.audit.target.worker_model import WorkerModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_injectivity.core.layers import Layer
    from pytest_injectivity.inversion.recovery import Inversion
    from pytest_injectivity.inversion.recovery_parts import Asked, Inverted, Part
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


def inverted(
    target: Target,
    prompts: "Sequence[Inverted]",
    layer: "Layer",
    *,
    eps: "Tolerance",
    certify: int | None,
    progress: "Callable[[int], None]",
    **settings: "Unpack[Settings]",
) -> "Inversion":
    """The inversion of states with a target's model, by the run's workers where it has some.

    A model whose blocks are read from disk one at a time inverts in this process.

    Args:
        target: the model.
        prompts: token ids, whose states are the model's own, or states.
        layer: the layer inverted.
        eps: as for `recover_all`.
        certify: likewise.
        progress: likewise.
        settings: likewise; the policy is a name.

    Raises:
        OptionError: as `recover_all` raises it.
    """
    from pytest_injectivity.inversion.recovery_parts import recover_in_parts, states_of
    from pytest_injectivity.inversion.sipit import recover_all

    if target.executor is None or target.streams:
        decoder = target.decoder
        states = [states_of(decoder, one, layer) for one in prompts]
        return recover_all(
            decoder, states, layer, eps=eps, certify=certify, progress=progress, **settings
        )
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
