"""What is attacked, and how: releases of prompts at some places become channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import Attacker
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.schedule import CACHED_BYTES
from pytest_injectivity.privacy.releases.examples import (
    known_beforehand,
    practised,
    refuse_shared,
)
from pytest_injectivity.privacy.releases.mean import MeanRelease
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.pruning import FIRST_ROUND

FREE_RUNNING = 20
"""Default number of prompts that are read free-running."""


@dataclass(frozen=True, eq=False)
class AttackCase:
    """Releases of what is observed at one place.

    Attributes:
        observed: the rows before any release, and the prompts that attacks are judged by.
        releases: the releases, by name.
        nu: how far two evaluations of one row may lie apart at positions 0, 1, …, the last number for
            all later positions (`measure_floor`).
        practice: prompts of the attacker's own, run through its own model; None: none.
        known: prompts that the attacker knows, run through the sender's model; None: none.
        queries: how many times the sender releases each prompt that is read, with draws of their own.
    """

    observed: Observed
    releases: Mapping[str, Release]
    nu: float | Sequence[float]
    practice: Observed | None = None
    known: Observed | None = None
    queries: int = 1


@dataclass(frozen=True)
class AttackSettings:
    """How cases are attacked; see `run_attacks`."""

    seed: int
    attackers: tuple[Attacker, ...] = ATTACKERS
    free_running: int = FREE_RUNNING
    known: tuple[int, ...] = ()
    keep_ids: bool = False
    budget: int | None = None
    first_round: int = FIRST_ROUND
    cached_bytes: int = CACHED_BYTES


def prompts_of(cases: Sequence[AttackCase], known: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The prompts of all cases.

    Raises:
        OptionError: see `run_attacks`.
    """
    if not cases:
        raise OptionError("no case to attack: give at least one place and its releases")
    prompts = cases[0].observed.prompts
    if any(case.observed.prompts != prompts for case in cases):
        raise OptionError(
            "the cases are of different prompts: give places of the same prompts, whose one-step maps"
            " are computed once for all"
        )
    for at, ids in enumerate(prompts):
        if len(ids) <= len(known) or ids[: len(known)] != tuple(known):
            raise OptionError(
                f"prompt {at} of {len(ids)} tokens does not begin with the {len(known)} known ones and"
                " go on after them: give known= as all prompts begin"
            )
    for case in cases:
        for learned, what in ((case.practice, "of practice"), (case.known, "known beforehand")):
            if learned is not None:
                refuse_shared(learned.prompts, prompts, what)
    return prompts


def channels_of(case: AttackCase, decoder: Decoder, seed: int) -> list[Channel]:
    """What an attacker has of each release of a case."""
    # Apple's GPUs have no float64.
    home = torch.device("cpu") if decoder.device.type == "mps" else decoder.device
    return [_channel(case, name, home, seed) for name in case.releases]


def _channel(case: AttackCase, name: str, home: torch.device, seed: int) -> Channel:
    observed, release = case.observed, case.releases[name]

    def released(made: Release) -> tuple[Tensor, ...]:
        return tuple(rows.to(home) for rows in observed.released(made, seed))

    once = Channel(
        name=name,
        release=release,
        place=observed.place,
        nu=tuple(case.nu) if isinstance(case.nu, Sequence) else (case.nu,),
        released=released(release),
        lengths=tuple(map(len, observed.prompts)),
        sides=observed.sides,
        practice=practised(release, case.practice, seed).to(home),
        known=known_beforehand(release, case.known, seed).to(home),
    )
    if case.queries == 1:
        return once
    mean = MeanRelease(release, case.queries)
    return replace(once, averaged=replace(once, release=mean, released=released(mean)))
