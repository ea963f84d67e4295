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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import Attacker, AttackSetting
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.cases import (
    FREE_RUNNING,
    AttackCase,
    AttackSettings,
    channels_of,
    prompts_of,
)
from pytest_injectivity.privacy.evaluation.information import token_bits
from pytest_injectivity.privacy.evaluation.ranks import Ranks
from pytest_injectivity.privacy.evaluation.results import AttackedRelease, AttackResult
from pytest_injectivity.privacy.evaluation.robustness import (
    POSITIONS,
    RobustnessProbe,
    Tolerances,
)
from pytest_injectivity.privacy.evaluation.schedule import (
    CACHED_BYTES,
    Given,
    Schedule,
    ScheduledAttack,
    prompts_at_a_time,
)
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.pruning import FIRST_ROUND, Pruning
from pytest_injectivity.privacy.search.ranking import Ranking

# The fewest likely candidates of a position, whatever the budget is.
_FEWEST = 32
# Radii need the whole vocabulary: they take one part in so many of the budget, on so many positions or
# more.
_SHARE_OF_RADII, _FEWEST_RADII = 8, 16


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
    begun = BegunAttacks(
        decoder,
        cases,
        AttackSettings(
            seed=seed,
            attackers=tuple(attackers),
            free_running=free_running,
            known=tuple(known),
            keep_ids=keep_ids,
            budget=budget,
            first_round=first_round,
            cached_bytes=cached_bytes,
        ),
    )
    begun.run(range(len(begun.prompts)), progress)
    return begun.results()


class BegunAttacks:
    """All attacks on all releases of one sample of prompts: those who learn have learned.

    Args:
        decoder: the attacker's model.
        cases: places of the same prompts.
        settings: how they are attacked.

    Raises:
        OptionError: see `run_attacks`.

    Attributes:
        prompts: the token ids.
        attacks: one for each channel and attacker, and each way in which it is run.
    """

    def __init__(
        self, decoder: Decoder, cases: Sequence[AttackCase], settings: AttackSettings
    ) -> None:
        self._decoder = decoder
        self._settings = settings
        known, seed, budget = settings.known, settings.seed, settings.budget
        self.prompts = prompts_of(cases, known)
        self._channels = [channel for case in cases for channel in channels_of(case, decoder, seed)]
        self._by_channel = {
            id(channel): _scheduled(decoder, channel, self.prompts, settings)
            for channel in self._channels
        }
        self.attacks = [one for pairs in self._by_channel.values() for _, one in pairs]
        pruning = None
        if budget is not None:
            prefixes = _prefixes(self.attacks, self.prompts, len(known))
            if prefixes * decoder.vocab_size > budget:
                rankings = _rankings(decoder, self.attacks, seed)
                most = max(_FEWEST, budget // prefixes)
                pruning = Pruning(decoder, rankings, most, first_round=settings.first_round)
        measured = POSITIONS
        if pruning is not None and budget is not None:
            measured = budget // (_SHARE_OF_RADII * decoder.vocab_size)
        self._probes = {
            id(one): RobustnessProbe(self.prompts, len(known), seed, min(measured, POSITIONS))
            for one in self._channels
            if RobustnessProbe.fits(one) and measured >= _FEWEST_RADII
        }
        every = tuple(range(len(self.prompts)))
        scheduled = [*self.attacks] + [
            ScheduledAttack(self._probes[id(one)], one, every, self.prompts)
            for one in self._channels
            if id(one) in self._probes
        ]
        self._schedule: Schedule | None = None
        if scheduled:
            self._schedule = Schedule(
                decoder,
                scheduled,
                known,
                prompts=self.prompts,
                pruning=pruning,
                cached_bytes=settings.cached_bytes,
            )

    def run(self, prompts: Sequence[int], progress: Callable[[int], None] | None = None) -> None:
        """Runs the attacks on some of the prompts; see `Schedule.run`."""
        if self._schedule is not None:
            self._schedule.run(prompts, progress)

    def taken(self) -> "Attacked":
        """What was found since the last call, which is forgotten here."""
        probes = self._probes.values()
        found = Attacked([one.given for one in self.attacks], [one.measured for one in probes])
        for attack in self.attacks:
            attack.given = Given()
        for probe in probes:
            probe.measured = Tolerances()
        return found

    def add(self, found: "Attacked") -> None:
        """Adds what the same attacks found elsewhere of other prompts."""
        for attack, given in zip(self.attacks, found.given, strict=True):
            attack.given.add(given)
        for probe, measured in zip(self._probes.values(), found.measured, strict=True):
            probe.measured.add(measured)

    def results(self) -> tuple[AttackedRelease, ...]:
        """What was found of each case and release, in the order given."""
        return tuple(
            AttackedRelease(
                release=channel.name,
                place=channel.place,
                attacks=tuple(
                    _result(
                        attacker,
                        one,
                        self.prompts,
                        len(self._settings.known),
                        vocab=self._decoder.vocab_size,
                        keep_ids=self._settings.keep_ids,
                    )
                    for attacker, one in self._by_channel[id(channel)]
                ),
                robustness=self._probes[id(channel)].robustness()
                if id(channel) in self._probes
                else None,
            )
            for channel in self._channels
        )


@dataclass(frozen=True, eq=False)
class Attacked:
    """What attacks found of some prompts.

    Attributes:
        given: the answers of each attack.
        measured: of each channel whose rows are compared position by position.
    """

    given: Sequence[Given]
    measured: Sequence[Tolerances]


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


def _ways(
    channel: Channel, prompts: int, settings: AttackSettings
) -> Iterator[tuple[Attacker, bool, tuple[int, ...]]]:
    """Attackers that are made for a channel, whether teacher-forced, and the prompts they read."""
    every = tuple(range(prompts))
    for attacker in settings.attackers:
        if not attacker.fits(channel):
            continue
        if attacker.teacher_forced and every:
            yield attacker, True, every
        if attacker.free_running and every[: settings.free_running]:
            yield attacker, False, every[: settings.free_running]


def _scheduled(
    decoder: Decoder,
    channel: Channel,
    prompts: Sequence[Sequence[int]],
    settings: AttackSettings,
) -> list[tuple[Attacker, ScheduledAttack]]:
    """The attacks that are made for a channel, each in the ways that its attacker is run."""
    pairs = []
    for attacker, teacher_forced, some in _ways(channel, len(prompts), settings):
        began = time.perf_counter()
        attack = attacker.begin(AttackSetting(decoder, channel, teacher_forced, settings.seed))
        truth = prompts if teacher_forced else None
        scheduled = ScheduledAttack(attack, channel, some, truth)
        scheduled.given.seconds = time.perf_counter() - began
        pairs.append((attacker, scheduled))
    return pairs


def shares_of_prompts(
    decoder: Decoder, cases: Sequence[AttackCase], settings: AttackSettings
) -> tuple[tuple[int, ...], ...]:
    """The prompts that are attacked together; all where an attacker learns from each for the next.

    Raises:
        OptionError: see `run_attacks`.
    """
    prompts = prompts_of(cases, settings.known)
    channels = [one for case in cases for one in channels_of(case, decoder, settings.seed)]
    ways = [way for one in channels for way in _ways(one, len(prompts), settings)]
    together = len(prompts)
    if not any(attacker.remembers for attacker, _, _ in ways):
        free = sum(not teacher_forced for _, teacher_forced, _ in ways)
        longest = max(map(len, prompts))
        together = prompts_at_a_time(decoder, longest, free, settings.cached_bytes)
    every = range(len(prompts))
    return tuple(tuple(every[start : start + together]) for start in every[::together])


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
    given = attack.given
    shape = len(prompts), max(map(len, prompts))
    tokens, ranks = (np.zeros(shape, dtype=np.int64) for _ in range(2))
    right, judged, verified, left_out, undecided = (np.zeros(shape, dtype=bool) for _ in range(5))
    for prompt in attack.prompts:
        truth = np.array(prompts[prompt][known:])
        asked = slice(known, known + len(truth))
        judged[prompt, asked] = True
        right[prompt, asked] = np.array(given.answers[prompt]) == truth
        verified[prompt, asked] = given.verified[prompt]
        left_out[prompt, asked] = given.left_out[prompt]
        tokens[prompt, asked] = truth
        if given.ranks:
            ranks[prompt, asked] = given.ranks[prompt]
        missed = np.array(given.undecided[prompt])
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
        seconds=given.seconds,
        ranks=Ranks(ranks, *token_bits(tokens, ranks, left_out, judged, vocab))
        if given.ranks
        else None,
        ids=tuple(tuple(given.answers[one]) for one in attack.prompts) if keep_ids else (),
    )


def _mean_compared(attack: ScheduledAttack, vocab: int) -> float | None:
    """How many candidates were compared at a position; None where always all of them, or none."""
    given = attack.given
    pruned = attack.attack.compares and min(given.compared, default=vocab) < vocab
    return float(np.mean(given.compared)) if pruned else None
