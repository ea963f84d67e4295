"""Attacks on prompts that workers read side by side, with the answers of one process.

Prompts that one process would attack together are read in one worker, and each worker begins the attacks
for itself: what is learned from practice is the same in each. Where an attacker learns from every prompt
for those that it reads later (Procrustes), prompts are not shared out.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.evaluation.attack import (
    Attacked,
    BegunAttacks,
    shares_of_prompts,
)
from pytest_injectivity.privacy.evaluation.cases import AttackCase, AttackSettings
from pytest_injectivity.privacy.evaluation.results import AttackedRelease

_PARTS = 2
"""Parts of each worker, where there are prompts enough: each takes the observed rows with it."""


class AttackPart(Protocol):
    """What one worker does at a time."""

    def run(self, begun: BegunAttacks) -> Any:
        """Does it."""


@dataclass(frozen=True)
class _Reading:
    """Prompts that one worker reads.

    Attributes:
        shares: numbers of the prompts, those together that are attacked together.
    """

    shares: Sequence[Sequence[int]]

    def run(self, begun: BegunAttacks) -> Attacked:
        """Attacks them."""
        for some in self.shares:
            begun.run(some)
        return begun.taken()


@dataclass(frozen=True)
class _Judging:
    """What attacks found of all prompts, in the order of the prompts."""

    found: Sequence[Attacked]

    def run(self, begun: BegunAttacks) -> tuple[AttackedRelease, ...]:
        """Joins and judges it."""
        for one in self.found:
            begun.add(one)
        return begun.results()


@dataclass(frozen=True)
class PackedCases:
    """Cases on their way to another process, whose model takes the place of the sender's.

    Attributes:
        cases: pickled.
        settings: how they are attacked.
        threads: those on which attackers learn: what they learn may depend on how many there are.
    """

    cases: bytes
    settings: AttackSettings
    threads: int

    @classmethod
    def of(cls, cases: Sequence[AttackCase], settings: AttackSettings) -> "PackedCases":
        """Packs cases."""
        packed = io.BytesIO()
        _Packer(packed).dump(tuple(cases))
        return cls(packed.getvalue(), settings, torch.get_num_threads())

    def begun(self, decoder: Decoder) -> BegunAttacks:
        """The attacks, begun by a worker's model."""
        with on_threads(self.threads):
            return BegunAttacks(decoder, _Unpacker(self.cases, decoder).load(), self.settings)


class _Packer(pickle.Pickler):
    """Leaves models out, and writes of tensors what they show, not what they are views of."""

    def persistent_id(self, obj: object) -> str | None:
        """A model is named, not written."""
        return "model" if isinstance(obj, Decoder) else None

    def reducer_override(self, obj: object) -> Any:
        """A tensor is its bytes."""
        if isinstance(obj, Tensor):
            plain = obj.detach().cpu().contiguous().reshape(-1)
            written = plain.view(torch.uint8).numpy().tobytes()
            return _tensor, (written, obj.dtype, tuple(obj.shape), obj.device.type)
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    def __init__(self, packed: bytes, decoder: Decoder) -> None:
        super().__init__(io.BytesIO(packed))
        self._decoder = decoder

    def persistent_load(self, _pid: object) -> Decoder:
        """The model of this process."""
        return self._decoder


def _tensor(written: bytes, dtype: torch.dtype, shape: tuple[int, ...], device: str) -> Tensor:
    if not written:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.frombuffer(bytearray(written), dtype=dtype).reshape(shape).to(device)


def attack_in_parts(
    executor: Executor,
    job_of: Callable[[PackedCases], Callable[[AttackPart], Any]],
    decoder: Decoder,
    cases: Sequence[AttackCase],
    settings: AttackSettings,
    *,
    progress: Callable[[int], None],
) -> tuple[AttackedRelease, ...] | None:
    """Runs every attacker on every release, as `run_attacks` does, in workers.

    Args:
        executor: the workers.
        job_of: gives a job that does a part in a worker, with the attacks begun by the model there.
        decoder: the attackers' model, which is that of the workers.
        cases: places of the same prompts; their releases can be pickled.
        settings: how they are attacked.
        progress: called with the number of positions done.

    Returns:
        One entry for each case and release; None where there is nothing to share out.

    Raises:
        OptionError: as `run_attacks` raises it.
    """
    shares = shares_of_prompts(decoder, cases, settings)
    if len(shares) == 1:
        return None
    prompts, known = cases[0].observed.prompts, len(settings.known)
    job = job_of(PackedCases.of(cases, settings))
    many = -(-len(shares) // (_PARTS * executor.count))
    parts = [_Reading(shares[start : start + many]) for start in range(0, len(shares), many)]
    done, found = 0, []
    with closing(executor.map(job, parts)) as every:
        for part, one in zip(parts, every, strict=True):
            found.append(one)
            done += sum(len(prompts[at]) - known for share in part.shares for at in share)
            progress(done)
    with closing(executor.map(job, [_Judging(found)])) as judged:
        (results,) = judged
    return tuple(results)
