"""All attackers on all releases of one sample of prompts, in one walk.

::

    cases = [Case(observed, {"identity": Identity(width)}, floor(decoder, observed))]
    for one in attack(decoder, cases, seed=0):
        print(one.release, one.attacker, one.token_rate)

Numbers along the true prefix are teacher-forced, and called so; those of attacks that go on from
their own answers are free-running, on the first so many prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.tolerances import Tolerance
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import Attacker, Channel, Setting
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.privacy.evaluation.robustness import Probe, Robustness
from pytest_injectivity.privacy.evaluation.schedule import Run, Walk
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release

FREE_RUNNING = 20
"""Prompts that are read free-running where no number is given."""


@dataclass(frozen=True, eq=False)
class Case:
    """Releases of what is observed at one place.

    Attributes:
        observed: the rows, and the truth they are judged by.
        releases: by name; each as an attacker knows it.
        nu: how far two evaluations of one row may lie apart at positions 0, 1, …, the last for all
            after it (`tables.floor`).
    """

    observed: Observed
    releases: Mapping[str, Release]
    nu: Tolerance


def attack(
    decoder: Decoder,
    cases: Sequence[Case],
    *,
    seed: int,
    attackers: Sequence[Attacker] = ATTACKERS,
    free_running: int = FREE_RUNNING,
    known: Sequence[int] = (),
    keep_ids: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[AttackResult]:
    """Runs every attacker that is made for a release, on every release of every case.

    Args:
        decoder: the attacker's model; other weights than the sender's, or another precision, where
            that is what is asked.
        cases: places of the same prompts: their one-step maps come from the same passes.
        seed: of the releases' secret draws, and of what attackers draw.
        attackers: the candidates, weakest first.
        free_running: prompts read free-running, the first ones; 0: none.
        known: tokens that every prompt begins with (a special token): nobody is asked for them.
        keep_ids: keep the tokens that were named: they are the prompts.
        progress: called with the number of prompts done.

    Returns:
        By case, release and attacker, in the orders given; a release that no attacker is made for has
        no entry.

    Raises:
        OptionError: there is no case, the cases are not of the same prompts, or a prompt has no token
            after the known ones.
    """
    prompts = _prompts(cases, known)
    channels = [channel for case in cases for channel in _channels(case, decoder, seed)]
    probes = {id(one): Probe(prompts, len(known), seed) for one in channels if Probe.fits(one)}
    every = tuple(range(len(prompts)))
    entries: list[tuple[Attacker, Run]] = []
    for channel in channels:
        for attacker in attackers:
            if attacker.fits(channel):
                for told, some in ((True, every), (False, every[:free_running])):
                    if some and (attacker.told if told else attacker.free):
                        attempt = attacker.attempt(Setting(decoder, channel, told, seed))
                        run = Run(attempt, channel, some, prompts if told else None)
                        entries.append((attacker, run))
    runs = [run for _, run in entries]
    runs += [Run(probes[id(one)], one, every, prompts) for one in channels if id(one) in probes]
    if runs:
        Walk(decoder, runs, known).go(every, progress)
    found = {key: probe.robustness() for key, probe in probes.items()}
    return [
        _attacked(attacker, run, prompts, len(known), found.get(id(run.channel)), keep_ids=keep_ids)
        for attacker, run in entries
    ]


def _prompts(cases: Sequence[Case], known: Sequence[int]) -> tuple[tuple[int, ...], ...]:
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
    return prompts


def _channels(case: Case, decoder: Decoder, seed: int) -> list[Channel]:
    observed = case.observed
    # Apple's GPUs have no float64.
    home = torch.device("cpu") if decoder.device.type == "mps" else decoder.device
    nu = tuple(case.nu) if isinstance(case.nu, Sequence) else (case.nu,)
    return [
        Channel(
            name=name,
            release=release,
            place=observed.place,
            nu=nu,
            released=tuple(rows.to(home) for rows in observed.released(release, seed)),
            lengths=tuple(map(len, observed.prompts)),
            sides=observed.sides,
        )
        for name, release in case.releases.items()
    ]


def _attacked(
    attacker: Attacker,
    run: Run,
    prompts: Sequence[Sequence[int]],
    known: int,
    robustness: Robustness | None,
    *,
    keep_ids: bool,
) -> AttackResult:
    shape = len(prompts), max(map(len, prompts))
    right, judged, verified = (np.zeros(shape, dtype=bool) for _ in range(3))
    for prompt in run.prompts:
        truth = np.array(prompts[prompt][known:])
        asked = slice(known, known + len(truth))
        judged[prompt, asked] = True
        right[prompt, asked] = np.array(run.answers[prompt]) == truth
        verified[prompt, asked] = run.verified[prompt]
    return AttackResult(
        release=run.channel.name,
        place=run.channel.place,
        attacker=attacker.name,
        source=attacker.source,
        teacher_forced=run.told is not None,
        right=right,
        judged=judged,
        verified=verified,
        seconds=run.seconds,
        robustness=robustness,
        ids=tuple(tuple(run.answers[one]) for one in run.prompts) if keep_ids else (),
    )
