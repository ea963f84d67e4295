"""Parts of an inversion that workers compute side by side, with the numbers of one process.

Prompts that one process would invert side by side are one part: the passes that they share have the
shapes that they have anywhere. What all prompts share (the lens, the table of the first position) each
worker computes that inverts some, and so it does states that are the model's own; others are sent, each
prompt's with its parts. Positions are certified prompt by prompt; which of them, the process that asked
decides from what each has cost, as one process does.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, Unpack

import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.inversion.certificates import draw_positions
from pytest_injectivity.inversion.lens_calibration import Share
from pytest_injectivity.inversion.limits import CERTIFIED_POSITIONS
from pytest_injectivity.inversion.observation import check_asked, check_states
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.recovery import Inversion, Recovery, Status
from pytest_injectivity.inversion.sipit import Settings, SipIt
from pytest_injectivity.inversion.token_classes import TokenClasses
from pytest_injectivity.inversion.verifiers import Tolerance
from pytest_injectivity.models.decoder import Decoder

_Place: TypeAlias = tuple[int, int]

Inverted: TypeAlias = Sequence[int] | Float[Tensor, "length hidden"]
"""A prompt whose own states are inverted, or states of one from elsewhere, at every position."""


@dataclass(frozen=True)
class Asked:
    """What all parts of an inversion have in common.

    Attributes:
        layer: the layer inverted.
        eps: the largest observation error; see `SipIt`.
        settings: others of `SipIt`.
        share: all prompts.
    """

    layer: Layer
    eps: Tolerance
    settings: Settings
    share: Share

    def sipit(self, decoder: Decoder) -> SipIt:
        """What inverts any of the parts in a process."""
        sipit = SipIt(decoder, self.layer, eps=self.eps, **self.settings)
        sipit.share = self.share
        return sipit


class Part(Protocol):
    """What one worker does at a time."""

    def run(self, sipit: SipIt) -> Any:
        """Does it."""


class _Sizes(NamedTuple):
    together: int
    classes: TokenClasses
    layer: Layer
    policy: str


@dataclass(frozen=True)
class _Sizing:
    """How many prompts are a part, which candidates there are, and what a result says was asked."""

    longest: int

    def run(self, sipit: SipIt) -> _Sizes:
        """Looks it up in the model."""
        together = sipit.together(self.longest)
        return _Sizes(together, sipit.classes, sipit.layer, sipit.policy_name)


class _Recovered(NamedTuple):
    recoveries: list[Recovery]
    forwards: int
    shared: int


@dataclass(frozen=True)
class _Recovering:
    """Prompts that are inverted side by side."""

    prompts: Sequence[Inverted]

    def run(self, sipit: SipIt) -> _Recovered:
        """Inverts them."""
        states, before = _states(sipit, self.prompts), sipit.work.forwards
        for one in states:
            check_states(sipit.decoder, one, sipit.known)
        recoveries = sipit.recover(states)
        return _Recovered(recoveries, sipit.work.forwards - before, sipit.shared)


class _Certified(NamedTuple):
    recovery: Recovery
    spent: int


@dataclass(frozen=True)
class _Certifying:
    """Positions of one prompt that are held against the whole vocabulary.

    Attributes:
        prompt: its tokens, or its states.
        recovery: of the prompt.
        positions: in their order.
        done: those that were certified before.
    """

    prompt: Inverted
    recovery: Recovery
    positions: Sequence[int]
    done: Sequence[int]

    def run(self, sipit: SipIt) -> list[_Certified]:
        """The recovery after each position, and the tokens run for it."""
        states, changed = _states(sipit, [self.prompt]), [self.recovery]
        places, done = ([(0, at) for at in some] for some in (self.positions, self.done))
        found, before = [], sipit.work.certificates
        for _ in sipit.certifier.steps(states, changed, places, done):
            found.append(_Certified(changed[0], sipit.work.certificates - before))
            before = sipit.work.certificates
        return found


@dataclass(frozen=True)
class _Finishing:
    """Prompts with ambiguous answers, whose rivals are evaluated.

    They are one part: what is evaluated of a first token serves all prompts after it.
    """

    prompts: Sequence[Inverted]
    recoveries: Sequence[Recovery]

    def run(self, sipit: SipIt) -> tuple[Recovery, ...]:
        """The recoveries, finished."""
        return sipit.finished(_states(sipit, self.prompts), self.recoveries)


def _states(sipit: SipIt, prompts: Sequence[Inverted]) -> list[Tensor]:
    return [states_of(sipit.decoder, one, sipit.layer) for one in prompts]


def states_of(decoder: Decoder, prompt: Inverted, layer: Layer) -> Float[Tensor, "length hidden"]:
    """What is inverted, on the model's device."""
    if isinstance(prompt, Tensor):
        return prompt.to(decoder.device)
    return observe(decoder, prompt, [layer])[layer]


def recover_in_parts(
    executor: Executor,
    job_of: Callable[[Asked], Callable[[Part], Any]],
    prompts: Sequence[Inverted],
    layer: Layer,
    *,
    eps: Tolerance,
    certify: int | None = None,
    progress: Callable[[int], None] | None = None,
    **settings: Unpack[Settings],
) -> Inversion:
    """Inverts states of prompts, as `recover_all` does, in workers.

    Args:
        executor: the workers.
        job_of: gives a job that does a part in a worker, with the `SipIt` of the model there.
        prompts: token ids, or states.
        layer: as for `recover_all`.
        eps: likewise.
        certify: likewise.
        progress: likewise.
        settings: likewise; the policy is a name.

    Raises:
        OptionError: as `recover_all` raises it.
    """
    started = time.perf_counter()
    check_asked(prompts, certify)
    threads = torch.get_num_threads()
    every = Share.of(prompts)
    asked = Asked(layer, eps, settings, Share(every.positions, every.longest, threads))
    work = _Inverting(executor, job_of(asked), prompts)
    (sizes,) = work.done([_Sizing(every.longest)])
    forwards, shared = work.recover(sizes.together, progress)
    known, seed = len(settings.get("known", ())), settings.get("seed", 0)
    most = CERTIFIED_POSITIONS if certify is None else certify
    drawn = draw_positions([len(one) for one in prompts], known, most, seed)
    budget = None if certify is not None else forwards + shared
    sample = work.certify(drawn, budget, len(sizes.classes))
    work.finish(sizes.classes)
    if progress is not None:
        progress(2 * len(prompts))
    return Inversion(
        layer=sizes.layer,
        policy=sizes.policy,
        recoveries=tuple(work.recoveries),
        sample=sample,
        seconds=time.perf_counter() - started,
        forwards=forwards,
        shared=shared,
        certificates=work.certificates,
    )


class _Inverting:
    """An inversion as far as its parts are done.

    Args:
        executor: the workers.
        job: does a part.
        prompts: token ids, or states.

    Attributes:
        recoveries: of the prompts.
        certificates: tokens run to certify positions.
    """

    def __init__(
        self,
        executor: Executor,
        job: Callable[[Part], Any],
        prompts: Sequence[Inverted],
    ) -> None:
        self.recoveries: list[Recovery] = []
        self.certificates = 0
        self._executor = executor
        self._job = job
        # A part of a larger tensor would be pickled with all of it.
        self._prompts = [one.cpu().clone() if isinstance(one, Tensor) else one for one in prompts]

    def done(self, parts: Sequence[Part]) -> Iterator[Any]:
        """The results of parts, in their order."""
        with closing(self._executor.map(self._job, parts)) as found:
            yield from found

    def recover(
        self, together: int, progress: Callable[[int], None] | None = None
    ) -> tuple[int, int]:
        """Inverts all prompts; returns the tokens run for them, and for what they share."""
        starts = range(0, len(self._prompts), together)
        parts = [_Recovering(self._prompts[start : start + together]) for start in starts]
        forwards = shared = 0
        for found in self.done(parts):
            self.recoveries += found.recoveries
            forwards += found.forwards
            shared = found.shared  # the same in each
            if progress is not None:
                progress(len(self.recoveries))
        return forwards, shared

    def certify(
        self, positions: Sequence[_Place], budget: int | None, candidates: int
    ) -> tuple[_Place, ...]:
        """Certifies positions until that has cost enough; see `Certifier.certify`."""
        done: list[_Place] = []
        while left := positions[len(done) :]:
            if done and budget is not None and self.certificates >= budget:
                break
            ahead = left if budget is None else self._foreseen(left, budget, candidates)
            steps = self._steps(ahead, done)
            for place in ahead:
                if done and budget is not None and self.certificates >= budget:
                    break
                found = next(steps[place[0]])
                self.recoveries[place[0]] = found.recovery
                self.certificates += found.spent
                done.append(place)
        return tuple(done)

    def _foreseen(
        self, positions: Sequence[_Place], budget: int, candidates: int
    ) -> Sequence[_Place]:
        """The positions that will be certified, if no answer changes."""
        spent = self.certificates
        for count, (prompt, position) in enumerate(positions):
            if count and spent >= budget:
                return positions[:count]
            recovery = self.recoveries[prompt]
            outcome = recovery.outcomes[position - len(recovery.known)]
            if outcome.token is not None and outcome.margin is None:
                spent += position + candidates
        return positions

    def _steps(
        self, positions: Sequence[_Place], done: Sequence[_Place]
    ) -> Mapping[int, Iterator[_Certified]]:
        """What certifying each position of a prompt leads to, by prompt."""
        chosen = list(dict.fromkeys(prompt for prompt, _ in positions))
        parts = [
            _Certifying(
                self._prompts[one],
                self.recoveries[one],
                *([at for prompt, at in some if prompt == one] for some in (positions, done)),
            )
            for one in chosen
        ]
        return {one: iter(found) for one, found in zip(chosen, self.done(parts), strict=True)}

    def finish(self, classes: TokenClasses) -> None:
        """Evaluates rivals, and names twins."""
        ambiguous = [
            at
            for at, one in enumerate(self.recoveries)
            if any(outcome.status is Status.AMBIGUOUS for outcome in one.outcomes)
        ]
        finished: dict[int, Recovery] = {}
        if ambiguous:
            part = _Finishing(
                [self._prompts[at] for at in ambiguous], [self.recoveries[at] for at in ambiguous]
            )
            (found,) = self.done([part])
            finished = dict(zip(ambiguous, found, strict=True))
        self.recoveries = [
            finished.get(at) or one.beside(classes.twins_of)
            for at, one in enumerate(self.recoveries)
        ]
