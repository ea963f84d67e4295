"""Runs many attacks on many prompts position by position, so that no prefix is computed twice.

At each step the attacks that stand at the same prefix share one table of one-step maps. Teacher-forced
attacks need one prefix a prompt and position, whatever the number of releases and attackers. A
free-running attack shares that prefix until its first wrong answer and has prefixes of its own after it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Attack
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable, deepest
from pytest_injectivity.privacy.search.pruning import Asked, Pruning

_Ids = tuple[int, ...]

CACHED_BYTES = 2**28
"""Bound of the keys and values of all prefixes of one step and of the step before it."""

# Prefixes whose pruned tables are held at once.
_TOGETHER = 32


@dataclass(eq=False)
class Given:
    """The answers that an attack has given so far, by prompt, and what was noted of them.

    Attributes:
        answers: the tokens answered for each prompt, without the known ones.
        verified: for each answer, whether the attacker vouches for it.
        left_out: for each answer, whether the true token was not among the candidates compared.
        undecided: for each answer, whether it is wrong and would have been the true token, had that been
            among the candidates.
        ranks: for each answer of a teacher-forced attack that orders tokens, the place of the true one.
            One that was not compared comes after all that were.
        compared: how many candidates were compared for each answer.
        seconds: time of this attack alone, without what all attacks share.
    """

    answers: dict[int, list[int]] = field(default_factory=dict)
    verified: dict[int, list[bool]] = field(default_factory=dict)
    left_out: dict[int, list[bool]] = field(default_factory=dict)
    undecided: dict[int, list[bool]] = field(default_factory=dict)
    ranks: dict[int, list[int]] = field(default_factory=dict)
    compared: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, later: "Given") -> None:
        """Adds what was given for other prompts."""
        self.answers |= later.answers
        self.verified |= later.verified
        self.left_out |= later.left_out
        self.undecided |= later.undecided
        self.ranks |= later.ranks
        self.compared += later.compared
        self.seconds += later.seconds


@dataclass(eq=False)
class ScheduledAttack:
    """One attack, the prompts it reads, and the answers it has given so far.

    Attributes:
        attack: the attack.
        channel: the channel it is on.
        prompts: the prompts it reads, by number.
        truth: the true tokens of all prompts for a teacher-forced attack; None: free-running.
        given: its answers.
    """

    attack: Attack
    channel: Channel
    prompts: tuple[int, ...]
    truth: Sequence[Sequence[int]] | None
    given: Given = field(default_factory=Given)

    def next(self, prompt: int, position: int, answer: int) -> int:
        """The token that stands at a position of a prompt for all later positions."""
        return answer if self.truth is None else self.truth[prompt][position]


class Schedule:
    """Runs attacks from the first position of the prompts to the last.

    Args:
        decoder: the attacker's model.
        attacks: at least one attack, all on channels of the same prompts.
        known: tokens that every prompt begins with and that no attack is asked for.
        prompts: the true tokens, by which what a pruned search may have missed is judged.
        pruning: makes tables of likely candidates; None: tables are of the whole vocabulary.
        cached_bytes: bound of the memory for keys and values of prefixes.
    """

    def __init__(
        self,
        decoder: Decoder,
        attacks: Sequence[ScheduledAttack],
        known: Sequence[int] = (),
        *,
        prompts: Sequence[Sequence[int]] = (),
        pruning: Pruning | None = None,
        cached_bytes: int = CACHED_BYTES,
    ) -> None:
        self._decoder = decoder
        self._attacks = attacks
        self._known = tuple(known)
        self._prompts = prompts
        self._pruning = pruning
        self._cached_bytes = cached_bytes
        self._read_by = [frozenset(one.prompts) for one in attacks]
        self._depth = deepest([one.channel.place for one in attacks])

    def run(self, prompts: Sequence[int], progress: Callable[[int], None] | None = None) -> None:
        """Runs the attacks on prompts, as many prompts at a time as the memory allows.

        Args:
            prompts: the prompts, by number.
            progress: called with the number of positions done, of all prompts together.
        """
        lengths = self._attacks[0].channel.lengths
        free = sum(one.truth is None for one in self._attacks)
        together = prompts_at_a_time(self._decoder, max(lengths), free, self._cached_bytes)
        done = 0
        for start in range(0, len(prompts), together):
            some = prompts[start : start + together]
            for position in self._run_together(some, lengths):
                done += sum(lengths[one] > position for one in some)
                if progress is not None:
                    progress(done)

    def _run_together(self, prompts: Sequence[int], lengths: Sequence[int]) -> Iterator[int]:
        """Runs the attacks on prompts position by position; gives each position that is done."""
        standing = {
            (at, prompt): self._known
            for at in range(len(self._attacks))
            for prompt in prompts
            if prompt in self._read_by[at]
        }
        before: dict[tuple[int, ...], Prefix] = {}
        for position in range(len(self._known), max(lengths[one] for one in prompts)):
            groups: dict[tuple[int, ...], dict[int, list[int]]] = {}
            for (at, prompt), ids in standing.items():
                if len(ids) == position < lengths[prompt]:
                    groups.setdefault(ids, {}).setdefault(at, []).append(prompt)
            here = {ids: self._prefix(ids, before) for ids in groups}
            for ids, table in self._tables(here, groups):
                for (at, prompt), token in self._look(table, groups[ids]).items():
                    # Without a token there is no prefix to go on from.
                    if token != NO_TOKEN:
                        standing[at, prompt] = (*ids, token)
            before = here
            yield position
        self._settle(prompts, lengths)

    def _tables(
        self, prefixes: dict[_Ids, Prefix], groups: dict[_Ids, dict[int, list[int]]]
    ) -> Iterator[tuple[_Ids, OneStepTable]]:
        """The table behind each prefix, of likely candidates where that is enough for all attacks."""
        pruned: list[tuple[_Ids, Asked]] = []
        for ids, members in groups.items():
            attacks = [self._attacks[at] for at in members]
            places = tuple(dict.fromkeys(one.channel.place for one in attacks))
            compare = [one.attack for one in attacks if one.attack.compares]
            if self._pruning is None or not compare or not all(one.prunes for one in compare):
                yield ids, OneStepTable(self._decoder, prefixes[ids], places)
                continue
            readers: dict[int, tuple[Channel, dict[int, None]]] = {}
            for at, prompts in members.items():
                channel = self._attacks[at].channel
                if self._attacks[at].attack.prunes:
                    reader = readers.setdefault(id(channel), (channel, {}))
                    reader[1].update(dict.fromkeys(prompts))
            asked = [(channel, tuple(prompts)) for channel, prompts in readers.values()]
            pruned.append((ids, Asked(prefixes[ids], places, asked)))
        if self._pruning is not None:
            for start in range(0, len(pruned), _TOGETHER):
                some = pruned[start : start + _TOGETHER]
                tables = self._pruning.tables([asked for _, asked in some])
                yield from zip((ids for ids, _ in some), tables, strict=True)

    def _look(
        self, table: OneStepTable, members: dict[int, list[int]]
    ) -> dict[tuple[int, int], int]:
        """Asks the attacks at one prefix; the next token of each attack and prompt."""
        views: dict[int, ChannelView] = {}
        following = {}
        for at, prompts in members.items():
            one = self._attacks[at]
            view = views.setdefault(id(one.channel), ChannelView(table, one.channel))
            if one.attack.compares:
                # All attackers share the images: they are computed before this attack's time is taken.
                _ = view.candidates
            started = time.perf_counter()
            guess = one.attack.look(view, prompts)
            answers, verified = guess.tokens.tolist(), guess.verified.tolist()
            next_ = [
                one.next(prompt, table.position, answer)
                for prompt, answer in zip(prompts, answers, strict=True)
            ]
            went_on = [index for index in range(len(prompts)) if next_[index] != NO_TOKEN]
            one.attack.follow(
                view, [prompts[index] for index in went_on], [next_[index] for index in went_on]
            )
            one.given.seconds += time.perf_counter() - started
            for prompt, answer, sure, token in zip(prompts, answers, verified, next_, strict=True):
                one.given.answers.setdefault(prompt, []).append(answer)
                one.given.verified.setdefault(prompt, []).append(sure)
                following[at, prompt] = token
            self._judge(table, one, prompts, answers)
            if one.truth is not None and guess.ranks is not None:
                truths = [one.truth[prompt][table.position] for prompt in prompts]
                # An answer is the first of its order: where all are right, nothing is sorted.
                places = [1] * len(prompts)
                if answers != truths:
                    places = guess.ranks(torch.tensor(truths)).tolist()
                for prompt, place in zip(prompts, places, strict=True):
                    one.given.ranks.setdefault(prompt, []).append(place)
        return following

    def _judge(
        self,
        table: OneStepTable,
        one: ScheduledAttack,
        prompts: Sequence[int],
        answers: Sequence[int],
    ) -> None:
        """Notes what an attack was not shown, and whether it might have answered that.

        The attack looks again with the true tokens among the candidates. Its answers are given by then,
        and nothing of this look reaches them.
        """
        one.given.compared += [len(table)] * len(prompts)
        missing: dict[int, int] = {}
        if one.attack.prunes and table.tokens is not None:
            held = set(table.tokens.tolist())
            truths = {prompt: self._prompts[prompt][table.position] for prompt in prompts}
            missing = {prompt: token for prompt, token in truths.items() if token not in held}
        may = [
            prompt
            for prompt, answer in zip(prompts, answers, strict=True)
            if prompt in missing and answer != missing[prompt]
        ]
        undecided = set()
        if may:
            shown = table.with_tokens(sorted({missing[prompt] for prompt in may}))
            guess = one.attack.look(ChannelView(shown, one.channel), may).tokens.tolist()
            undecided = {
                prompt for prompt, token in zip(may, guess, strict=True) if token == missing[prompt]
            }
        for prompt in prompts:
            one.given.left_out.setdefault(prompt, []).append(prompt in missing)
            one.given.undecided.setdefault(prompt, []).append(prompt in undecided)

    def _settle(self, prompts: Sequence[int], lengths: Sequence[int]) -> None:
        """Asks each attack for its final answers; positions it never reached have none."""
        for one, read in zip(self._attacks, self._read_by, strict=True):
            for prompt in prompts:
                if prompt in read:
                    wanted = lengths[prompt] - len(self._known)
                    answers = one.given.answers.setdefault(prompt, [])
                    if answers and len(answers) == wanted:
                        answers[:] = one.attack.settle(prompt, answers)
                    missing = wanted - len(answers)
                    answers += [NO_TOKEN] * missing
                    for noted in (one.given.verified, one.given.left_out, one.given.undecided):
                        noted.setdefault(prompt, []).extend([False] * missing)

    def _prefix(self, ids: tuple[int, ...], before: dict[tuple[int, ...], Prefix]) -> Prefix:
        if ids == self._known:
            return self._decoder.prefix(torch.tensor(ids, dtype=torch.long), self._depth)
        return self._decoder.extend(before[ids[:-1]], torch.tensor(ids[-1:]))


def prompts_at_a_time(decoder: Decoder, longest: int, free: int, cached_bytes: int) -> int:
    """The number of prompts that attacks are run on together.

    Args:
        decoder: the attackers' model.
        longest: tokens of the longest prompt.
        free: how many attacks are free-running.
        cached_bytes: bound of the memory for keys and values of prefixes.
    """
    each = 2 * decoder.n_layers * decoder.hidden_size * decoder.dtype.itemsize * longest
    return max(1, cached_bytes // (2 * each * (1 + free)))
