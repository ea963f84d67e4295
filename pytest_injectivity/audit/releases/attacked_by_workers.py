"""Attacks releases in workers, where the run has some."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.audit.target.worker_model import WorkerModel
from pytest_injectivity.privacy.evaluation.attack_parts import (
    AttackPart,
    PackedCases,
    attack_in_parts,
)
from pytest_injectivity.privacy.evaluation.cases import AttackCase, AttackSettings
from pytest_injectivity.privacy.evaluation.results import AttackedRelease


@dataclass(frozen=True)
class _Job:
    """Does a part of attacks with the worker's model."""

    name: str
    model: WorkerModel
    packed: PackedCases

    def __call__(self, part: AttackPart) -> Any:
        """Does it."""
        return part.run(self.model.prepared(self.name, self.packed.begun))


def attacked_by_workers(
    target: Target,
    cases: Sequence[AttackCase],
    settings: AttackSettings,
    *,
    progress: Callable[[int], None],
) -> tuple[AttackedRelease, ...] | None:
    """What attackers with a target's own model read; None where the run has no workers, or one share.

    Args:
        target: the model.
        cases: places of the same prompts; their releases can be pickled.
        settings: how they are attacked.
        progress: called with the number of positions done.
    """
    if target.executor is None or target.streams:
        return None
    name, model = secrets.token_hex(8), WorkerModel.of(target)
    return attack_in_parts(
        target.executor,
        lambda packed: _Job(name, model, packed),
        target.decoder,
        cases,
        settings,
        progress=progress,
    )
