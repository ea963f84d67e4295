"""Runs all attackers on all releases of one sample of prompts.

::

    nu = measure_floor(decoder, observed)
    cases = [AttackCase(observed, {"identity": IdentityRelease(width)}, nu)]
    for release in run_attacks(decoder, cases, seed=0):
        for attack in release.attacks:
            print(release.release, attack.attacker, attack.token_rate)

Each attacker is run teacher-forced (the true tokens stand before each position) on all prompts, or
free-running (its own answers stand there) on the first few prompts, or both.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.verifiers import Tolerance
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import Attacker, AttackSetting
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.information import token_bits
from pytest_injectivity.privacy.evaluation.ranks import Ranks
from pytest_injectivity.privacy.evaluation.results import AttackedRelease, AttackResult
from pytest_injectivity.privacy.evaluation.robustness import POSITIONS, RobustnessProbe
from pytest_injectivity.privacy.evaluation.schedule import CACHED_BYTES, Schedule, ScheduledAttack
from pytest_injectivity.privacy.releases.examples import (
    known_beforehand,
    practised,
    refuse_shared,
)
from pytest_injectivity.privacy.releases.mean import MeanRelease
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.pruning import FIRST_ROUND, Pruning
from pytest_injectivity.privacy.search.ranking import Ranking

FREE_RUNNING = 20
"""Default number of prompts that are read free-running."""

# The fewest likely candidates of a position, whatever the budget is.
_FEWEST = 32
# Radii need the whole vocabulary: they take one part in so many of the budget, on so many positions or
# more.
_SHARE_OF_RADII, _FEWEST_RADII = 8, 16


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
    nu: Tolerance
    practice: Observed | None = None
    known: Observed | None = None
    queries: int = 1


def run_attacks(
    decoder: Decoder,
    cases: Sequence[AttackCase],
    *,
    seed: int,
    attackers: Sequence[Attacker] = ATTACKERS,
    free_running: int = FREE_RUNNING,
    known: Sequence[int] = (),
    keep_ids: bool = False,
    budget: int | None = None,
    first_round: int = FIRST_ROUND,
    cached_bytes: int = CACHED_BYTES,
    progress: Callable[[int], None] | None = None,
) -> tuple[AttackedRelease, ...]:
    """Runs every attacker on every release that it is made for.

    Args:
        decoder: the attacker's model; its weights or their precision may differ from the sender's.
        cases: places of the same prompts; their one-step maps come from the same passes.
        seed: seed of the releases' secret draws, and of what attackers draw.
        attackers: the attackers to run.
        free_running: number of prompts that are read free-running, the first ones.
        known: tokens that every prompt begins with (a special token); no attacker is asked for them.
        keep_ids: whether to keep the answers, which are the prompts.
        budget: about how many candidates may be run behind prefixes, all prompts and releases together.
            Where the whole vocabulary behind each prefix is more, likely candidates alone are run
            (`search.pruning`). None: always the whole vocabulary.
        first_round: how many likely candidates of a row are run first.
        cached_bytes: bound of the memory for keys and values of prefixes.
        progress: called with the number of positions done, of all prompts together without the known
            tokens.

    Returns:
        One entry for each case and release, in the order given.

    Raises:
        OptionError: there is no case, the cases are of different prompts, a prompt has no token
            after the known ones, or an attacker would learn from a prompt that it reads.
    """
    prompts = _prompts(cases, known)
    channels = [channel for case in cases for channel in _channels(case, decoder, seed)]
    every = tuple(range(len(prompts)))
    by_channel = {
        id(channel): _scheduled(
            attackers, decoder, channel, prompts, seed=seed, free_running=free_running
        )
        for channel in channels
    }
    attacks = [one for pairs in by_channel.values() for _, one in pairs]
    pruning = None
    if budget is not None:
        prefixes = _prefixes(attacks, prompts, len(known))
        if prefixes * decoder.vocab_size > budget:
            rankings = _rankings(decoder, attacks, seed)
            most = max(_FEWEST, budget // prefixes)
            pruning = Pruning(decoder, rankings, most, first_round=first_round)
    measured = POSITIONS
    if pruning is not None and budget is not None:
        measured = budget // (_SHARE_OF_RADII * decoder.vocab_size)
    probes = {
        id(one): RobustnessProbe(prompts, len(known), seed, min(measured, POSITIONS))
        for one in channels
        if RobustnessProbe.fits(one) and measured >= _FEWEST_RADII
    }
    attacks += [
        ScheduledAttack(probes[id(one)], one, every, prompts)
        for one in channels
        if id(one) in probes
    ]
    if attacks:
        Schedule(
            decoder,
            attacks,
            known,
            prompts=prompts,
            pruning=pruning,
            cached_bytes=cached_bytes,
        ).run(every, progress)
    return tuple(
        AttackedRelease(
            release=channel.name,
            place=channel.place,
            attacks=tuple(
                _result(
                    attacker, one, prompts, len(known), vocab=decoder.vocab_size, keep_ids=keep_ids
                )
                for attacker, one in by_channel[id(channel)]
            ),
            robustness=probes[id(channel)].robustness() if id(channel) in probes else None,
        )
        for channel in channels
    )


def _prefixes(
    attacks: Sequence[ScheduledAttack], prompts: Sequence[Sequence[int]], known: int
) -> int:
    """About how many prefixes are read behind; how many releases run together changes no result.

    From its first wrong answer on a free run has prefixes of its own: half of them, it is assumed.
    """
    free = {at for one in attacks if one.truth is None for at in one.prompts}
    later = [len(ids) - known - 1 for ids in prompts]
    return 1 + sum(later) + sum(later[at] for at in free) // 2


def _rankings(
    decoder: Decoder, attacks: Sequence[ScheduledAttack], seed: int
) -> dict[int, Ranking]:
    """What ranks the tokens of each channel whose attackers are shown likely ones, by its `id`."""
    channels = {id(one.channel): one.channel for one in attacks if one.attack.prunes}
    return {key: Ranking(decoder, channel, seed) for key, channel in channels.items()}


def _scheduled(
    attackers: Iterable[Attacker],
    decoder: Decoder,
    channel: Channel,
    prompts: Sequence[Sequence[int]],
    *,
    seed: int,
    free_running: int,
) -> list[tuple[Attacker, ScheduledAttack]]:
    """The attacks that are made for a channel, each in the ways that its attacker is run."""
    every = tuple(range(len(prompts)))
    pairs = []
    for attacker in attackers:
        if not attacker.fits(channel):
            continue
        ways = (
            (True, attacker.teacher_forced, every),
            (False, attacker.free_running, every[:free_running]),
        )
        for teacher_forced, runs, some in ways:
            if runs and some:
                began = time.perf_counter()
                attack = attacker.begin(AttackSetting(decoder, channel, teacher_forced, seed))
                truth = prompts if teacher_forced else None
                scheduled = ScheduledAttack(attack, channel, some, truth)
                scheduled.seconds = time.perf_counter() - began
                pairs.append((attacker, scheduled))
    return pairs


def _prompts(cases: Sequence[AttackCase], known: Sequence[int]) -> tuple[tuple[int, ...], ...]:
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


def _channels(case: AttackCase, decoder: Decoder, seed: int) -> list[Channel]:
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


def _result(
    attacker: Attacker,
    attack: ScheduledAttack,
    prompts: Sequence[Sequence[int]],
    known: int,
    *,
    vocab: int,
    keep_ids: bool,
) -> AttackResult:
    """The answers of an attack, judged by the prompts."""
    shape = len(prompts), max(map(len, prompts))
    tokens, ranks = (np.zeros(shape, dtype=np.int64) for _ in range(2))
    right, judged, verified, left_out, undecided = (np.zeros(shape, dtype=bool) for _ in range(5))
    for prompt in attack.prompts:
        truth = np.array(prompts[prompt][known:])
        asked = slice(known, known + len(truth))
        judged[prompt, asked] = True
        right[prompt, asked] = np.array(attack.answers[prompt]) == truth
        verified[prompt, asked] = attack.verified[prompt]
        left_out[prompt, asked] = attack.left_out[prompt]
        tokens[prompt, asked] = truth
        if attack.ranks:
            ranks[prompt, asked] = attack.ranks[prompt]
        missed = np.array(attack.undecided[prompt])
        if attack.truth is None:
            # A walk that would have gone on from the true token might have read all that follows.
            missed = np.logical_or.accumulate(missed)
        undecided[prompt, asked] = missed & ~right[prompt, asked]
    return AttackResult(
        attacker=attacker.name,
        source=attacker.source,
        teacher_forced=attack.truth is not None,
        right=right,
        judged=judged,
        verified=verified,
        left_out=left_out,
        undecided=undecided,
        compared=_mean_compared(attack, vocab),
        seconds=attack.seconds,
        ranks=Ranks(ranks, *token_bits(tokens, ranks, left_out, judged, vocab))
        if attack.ranks
        else None,
        ids=tuple(tuple(attack.answers[one]) for one in attack.prompts) if keep_ids else (),
    )


def _mean_compared(attack: ScheduledAttack, vocab: int) -> float | None:
    """How many candidates were compared at a position; None where always all of them, or none."""
    pruned = attack.attack.compares and min(attack.compared, default=vocab) < vocab
    return float(np.mean(attack.compared)) if pruned else None
