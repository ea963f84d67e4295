"""Many attacks walked along many prefixes together, so that nothing is run twice.

At each step the attacks that stand at the same prefix look at the same table of one-step maps.
Along the truth that is one prefix a prompt, whatever the number of releases and attackers; an
attack that goes on from its own answers shares it until its first mistake, and has a prefix of its
own from there on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Attempt, Channel, View
from pytest_injectivity.privacy.search.one_step_tables import Table, deepest

# Keys and values of the prefixes of one step and the one before.
_CACHED_BYTES = 2**28


@dataclass(eq=False)
class Run:
    """One attacker on one channel, over some of its prompts.

    Attributes:
        attempt: the attack.
        channel: what it has.
        prompts: which it reads.
        told: the true tokens, where it is shown them; else it goes on from its own.
        answers: of each prompt the tokens it named, known ones left out.
        verified: which of them it vouches for.
        seconds: spent looking; what all share is not in it.
    """

    attempt: Attempt
    channel: Channel
    prompts: tuple[int, ...]
    told: Sequence[Sequence[int]] | None
    answers: dict[int, list[int]] = field(default_factory=dict)
    verified: dict[int, list[bool]] = field(default_factory=dict)
    seconds: float = 0.0

    def next(self, prompt: int, position: int, answer: int) -> int:
        """The token that this prompt goes on with."""
        return answer if self.told is None else self.told[prompt][position]


class Walk:
    """Walks runs from the first position to the last.

    Args:
        decoder: the attacker's model.
        runs: attacks on channels of the same prompts.
        known: tokens every prompt begins with, which nobody is asked for.
    """

    def __init__(self, decoder: Decoder, runs: Sequence[Run], known: Sequence[int] = ()) -> None:
        self._decoder = decoder
        self._runs = runs
        self._known = tuple(known)
        self._read_by = [frozenset(run.prompts) for run in runs]
        self._depth = deepest([run.channel.place for run in runs])

    def go(self, prompts: Sequence[int], progress: Callable[[int], None] | None = None) -> None:
        """Walks these prompts, some at a time.

        Args:
            prompts: by number.
            progress: called with the number of prompts done.
        """
        lengths = self._runs[0].channel.lengths
        together = self._together(max(lengths))
        for start in range(0, len(prompts), together):
            some = prompts[start : start + together]
            self._some(some, lengths)
            if progress is not None:
                progress(start + len(some))

    def _some(self, prompts: Sequence[int], lengths: Sequence[int]) -> None:
        standing = {
            (at, prompt): self._known
            for at, run in enumerate(self._runs)
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
            for ids, members in groups.items():
                places = dict.fromkeys(self._runs[at].channel.place for at in members)
                table = Table(self._decoder, here[ids], tuple(places))
                for (at, prompt), token in self._look(table, members).items():
                    # Without a token there is nothing to go on from.
                    if token != NO_TOKEN:
                        standing[at, prompt] = (*ids, token)
            before = here
        self._settle(prompts, lengths)

    def _look(self, table: Table, members: dict[int, list[int]]) -> dict[tuple[int, int], int]:
        """Lets every run that stands here look; returns what each prompt of each goes on with."""
        views: dict[int, View] = {}
        following = {}
        for at, prompts in members.items():
            run = self._runs[at]
            view = views.setdefault(id(run.channel), View(table, run.channel))
            if run.attempt.compares:
                # What all attackers share is computed before anyone's time is taken.
                _ = view.candidates
            started = time.perf_counter()
            guess = run.attempt.look(view, prompts)
            answers, verified = guess.tokens.tolist(), guess.verified.tolist()
            next_ = [
                run.next(prompt, table.position, answer)
                for prompt, answer in zip(prompts, answers, strict=True)
            ]
            went_on = [one for one in range(len(prompts)) if next_[one] != NO_TOKEN]
            run.attempt.follow(
                view, [prompts[one] for one in went_on], [next_[one] for one in went_on]
            )
            run.seconds += time.perf_counter() - started
            for prompt, answer, sure, token in zip(prompts, answers, verified, next_, strict=True):
                run.answers.setdefault(prompt, []).append(answer)
                run.verified.setdefault(prompt, []).append(sure)
                following[at, prompt] = token
        return following

    def _settle(self, prompts: Sequence[int], lengths: Sequence[int]) -> None:
        for run, read in zip(self._runs, self._read_by, strict=True):
            for prompt in prompts:
                if prompt in read:
                    wanted = lengths[prompt] - len(self._known)
                    answers = run.answers.setdefault(prompt, [])
                    verified = run.verified.setdefault(prompt, [])
                    if answers and len(answers) == wanted:
                        answers[:] = run.attempt.settle(prompt, answers)
                    missing = wanted - len(answers)
                    answers += [NO_TOKEN] * missing
                    verified += [False] * missing

    def _prefix(self, ids: tuple[int, ...], before: dict[tuple[int, ...], Prefix]) -> Prefix:
        if ids == self._known:
            return self._decoder.prefix(torch.tensor(ids, dtype=torch.long), self._depth)
        return self._decoder.extend(before[ids[:-1]], torch.tensor(ids[-1:]))

    def _together(self, longest: int) -> int:
        """How many prompts are walked at a time: each has a prefix, and each free run one more."""
        decoder = self._decoder
        each = 2 * decoder.n_layers * decoder.hidden_size * decoder.dtype.itemsize * longest
        prefixes = 1 + sum(run.told is None for run in self._runs)
        return max(1, _CACHED_BYTES // (2 * each * prefixes))
