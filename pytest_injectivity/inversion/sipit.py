"""SipIt: prompts from their hidden states, one token after another ([N] alg. 1, SPEC section 4).

By causality the state at position t is a function of the tokens up to t. With the tokens before it
known it is inverted by a search over one vocabulary: at most ``T |V|`` tests instead of ``|V|^T``.
The prefix is cached, candidates are tested in batches, and the first position searched, whose
one-step map is the same for every prompt, is looked up in one table::

    recover(decoder, observe(decoder, ids, [4])[4], 4, eps=resolution).exact(ids)

With the policy ``lens`` and the ball, the default, whole prompts are guessed and verified side by
side (`speculation`); with any other policy positions are searched one after the other (`search`),
as published. Then some positions are held against the whole vocabulary (`certificates`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict, Unpack

from torch import Tensor

from pytest_injectivity.core.layers import Layer, resolve_layers
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.certificates import Certifier, draw_positions
from pytest_injectivity.inversion.doubtful_answers import DoubtfulAnswers
from pytest_injectivity.inversion.first_position import FirstPosition
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.lens_calibration import Share, calibration_size
from pytest_injectivity.inversion.limits import CERTIFIED_POSITIONS, InversionLimits
from pytest_injectivity.inversion.observation import check_asked, check_states
from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.inversion.policies import ByLens, Policy, Situation, make_policy
from pytest_injectivity.inversion.recovery import Inversion, Outcome, Recovery, Status, Work
from pytest_injectivity.inversion.search import search
from pytest_injectivity.inversion.speculation import Speculation
from pytest_injectivity.inversion.token_classes import token_classes
from pytest_injectivity.inversion.verifiers import Tolerance, Tolerances, VerifierName
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.scaled import Scales

DEFAULT_LIMITS = InversionLimits()

DEFAULT_POLICY = "lens"
"""The policy used where none is named."""

DEFAULT_BACKOFF = 4.0
"""How far ``eps`` may be widened where nothing else is said.

The radius is the largest distance seen in a sample. Trained models of 0.3M to 1M parameters needed 1.6.
"""


class SipIt:
    """Inverts the states of one layer of one model.

    Answers are judged by the states alone; whether they are the truth is for the caller
    (:meth:`Recovery.exact`). A position that does not verify keeps its nearest token as the prefix
    of what follows, and its prompt counts as failed. Memory: the candidates of one position and the
    table of the first, each as large as the model's embedding matrix.

    Args:
        decoder: the model the states are inverted with.
        layer: the layer they were captured at. Layer 0 sees one token only, so that each position
            is inverted by itself.
        eps: the largest observation error: the radius of the resolution for states of this very
            model, else the error given or estimated for them; by position where it differs, and by the
            length of a state.
        nu: how far two evaluations of one candidate may lie apart; ``eps`` where it is not given.
        scales: the resolution of each coordinate. Then ``eps``, ``nu`` and the margins that are
            judged are scaled distances; those reported stay Euclidean. None: all are Euclidean.
        policy: orders the candidates, by name (one of ``policies.POLICIES``) or as an object.
        verifier: ``"ball"``; or ``"argmin"``, which always answers and verifies nothing.
        backoff: the largest factor by which ``eps`` is widened where nothing verifies, and never
            past the point where uniqueness stops; the outcome then reads "accepted, uncertified"
            and says how far. 1 widens nothing.
        batch: candidates tested at first at a position; doubled each time after.
        seed: decides the random policy's order and which positions are certified first.
        known: tokens every prompt begins with (a special token): not searched, their rows skipped.
        limits: sizes that bound memory and steps, and change no answer.
        evaluate: decide answers that are ambiguous or do not verify by evaluation in eight ways
            (`DoubtfulAnswers`); by scales and the ball.

    Attributes:
        share: all prompts, where those that are recovered here are a part of more.

    Raises:
        OptionError: a tolerance, the policy, the verifier, the batch or the seed is not accepted, or
            ``evaluate`` lacks scales or the ball.
        LayerError: the model has no such layer.
        PromptError: a known token is not in the vocabulary.
    """

    def __init__(
        self,
        decoder: Decoder,
        layer: Layer,
        *,
        eps: Tolerance,
        nu: Tolerance | None = None,
        scales: Scales | None = None,
        policy: str | Policy = DEFAULT_POLICY,
        verifier: VerifierName = "ball",
        backoff: float = DEFAULT_BACKOFF,
        batch: int = 64,
        seed: int = 0,
        known: Sequence[int] = (),
        limits: InversionLimits = DEFAULT_LIMITS,
        evaluate: bool = False,
    ) -> None:
        if evaluate and (scales is None or verifier != "ball"):
            raise OptionError("evaluate=True needs scales and the verifier ball, which verifies")
        if batch < 1:
            raise OptionError(f"batch={batch} tests nothing: give an integer that is at least 1")
        if seed < 0:
            raise OptionError(f"seed={seed} is negative: give an integer that is at least 0")
        (self.layer,) = resolve_layers(layer, decoder.n_layers)
        self.decoder = decoder
        self.tolerances = Tolerances.of(verifier, eps, nu, backoff, scales)
        self.policy = make_policy(policy, seed) if isinstance(policy, str) else policy
        self.policy_name = policy if isinstance(policy, str) else repr(policy)
        self.batch = batch
        self.seed = seed
        self.known = tuple(known)
        self.work = Work()
        self.limits = limits
        self.classes = token_classes(decoder)
        self._doubtful = (
            DoubtfulAnswers(decoder, self.layer, scales) if evaluate and scales else None
        )
        self._lens: Lens | None = None
        self.share: Share | None = None
        self._first = FirstPosition(
            decoder,
            self.layer,
            known=self.known,
            tolerances=self.tolerances,
            classes=self.classes,
            seed=seed,
            largest_table=limits.largest_table,
        )

    def recover(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        progress: Callable[[int], None] | None = None,
    ) -> list[Recovery]:
        """Inverts prompts; what the table of the first position finds is certified.

        Args:
            states: of each prompt at every position, known tokens included.
            progress: called with the number of prompts done.
        """
        found: list[Recovery] = []
        work = self._speculated if self._speculates else self._searched
        for recovery in work(states):
            found.append(recovery)
            if progress is not None:
                progress(len(found))
        return found

    @property
    def certifier(self) -> Certifier:
        """What holds positions of inverted prompts against the whole vocabulary."""
        return Certifier(
            self.decoder,
            self.layer,
            tolerances=self.tolerances,
            classes=self.classes,
            work=self.work,
            rest=self._rest,
        )

    def finished(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        recoveries: Sequence[Recovery],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Recovery, ...]:
        """Recoveries, certified where they are to be, with doubtful answers evaluated and twins named.

        Args:
            states: of each prompt at every position, known tokens included.
            recoveries: of the same prompts.
            progress: goes on from where :meth:`recover` stopped, prompt by prompt.
        """
        found: list[Recovery] = []
        for one, recovery in zip(states, recoveries, strict=True):
            settled = self._doubtful.settled(one, recovery) if self._doubtful else recovery
            found.append(settled.beside(self.classes.twins_of))
            if progress is not None:
                progress(len(recoveries) + len(found))
        return tuple(found)

    def together(self, longest: int) -> int:
        """How many prompts of at most so many tokens are inverted side by side."""
        if not self._speculates:
            return 1
        decoder = self.decoder
        each = 2 * decoder.n_layers * decoder.hidden_size * decoder.dtype.itemsize
        return max(1, self.limits.cached_bytes // each // longest)

    @property
    def shared(self) -> int:
        """Tokens run for what all prompts share: the calibration, and the first position's table."""
        return self._first.shared + (self._lens.forwards if self._lens else 0)

    @property
    def _speculates(self) -> bool:
        return isinstance(self.policy, ByLens) and self.tolerances.name == "ball"

    def _rest(
        self, states: Float[Tensor, "length hidden"], ids: tuple[int, ...]
    ) -> tuple[Outcome, ...]:
        """The outcomes of the positions after these tokens."""
        if not self._speculates:
            step = OneStep.of(self.decoder, self.layer, ids)
            return tuple(self._outcomes(states, step, len(ids)))
        lens = self._lens or self.calibrate([states])
        (outcomes,) = self._speculation(lens, ids).invert([states], [None])
        return outcomes

    def calibrate(self, states: Sequence[Float[Tensor, "_length hidden"]]) -> Lens:
        """Computes what all prompts share, as :meth:`recover` does first: the lens, and the table."""
        if not isinstance(self.policy, ByLens):
            raise OptionError(f"policy {self.policy_name} has nothing to calibrate: give lens")
        decoder, share = self.decoder, self.share or Share.of(states)
        with share.threads_of_all():
            self._first.prepare()
            lens = self.policy.lenses.calibrated(
                decoder,
                self.layer,
                tokens=calibration_size(len(self.classes), decoder.hidden_size, share.positions),
                length=share.longest,
                known=self.known,
                seed=self.policy.seed,
            )
        self._lens = lens
        return lens

    def _searched(self, states: Sequence[Float[Tensor, "_length hidden"]]) -> Iterator[Recovery]:
        """Inverts one prompt and one position after the other."""
        for one in states:
            started = time.perf_counter()
            outcomes = tuple(self._outcomes(one, self._first.step, len(self.known)))
            yield Recovery(self.known, outcomes, time.perf_counter() - started)

    def _outcomes(
        self, states: Float[Tensor, "length hidden"], step: OneStep, begin: int
    ) -> Iterator[Outcome]:
        outcome = None
        for position in range(begin, len(states)):
            if outcome is not None:
                if outcome.token is None:
                    yield Outcome(position, Status.NOT_REACHED)
                    continue
                step = step.after(outcome.token)
            at = Situation(step, states[position])
            outcome = self._invert(at, position)
            # The answer is run once more as it becomes part of the prefix.
            self.work.forwards += outcome.tried + (position + 1 < len(states))
            yield outcome

    def _speculated(self, states: Sequence[Float[Tensor, "_length hidden"]]) -> Iterator[Recovery]:
        """Inverts as many prompts side by side as their caches have room for."""
        lens, together = self.calibrate(states), self.together(max(map(len, states)))
        for start in range(0, len(states), together):
            some, started = states[start : start + together], time.perf_counter()
            firsts = self._first.outcomes(some, self._speculation)
            outcomes = self._speculation(lens).invert(some, firsts)
            seconds = (time.perf_counter() - started) / len(some)
            for one in outcomes:
                yield Recovery(self.known, one, seconds)

    def _speculation(self, lens: Lens, known: Sequence[int] | None = None) -> Speculation:
        return Speculation(
            self.decoder,
            self.layer,
            lens,
            tolerances=self.tolerances,
            classes=self.classes,
            known=self.known if known is None else known,
            work=self.work,
            limits=self.limits,
        )

    def _invert(self, at: Situation, position: int) -> Outcome:
        if position == len(self.known):
            (outcome,) = self._first.look_up(at.target[None])
            return outcome
        verifier = self.tolerances.verifier(position, at.target)
        return search(at, position, self.policy, verifier, self.classes, batch=self.batch)


class Settings(TypedDict, total=False):
    """What :class:`SipIt` may be given by keyword besides ``eps``; each is described there."""

    nu: Tolerance | None
    scales: Scales | None
    policy: str | Policy
    verifier: VerifierName
    backoff: float
    batch: int
    seed: int
    known: Sequence[int]
    limits: InversionLimits
    evaluate: bool


def recover(
    decoder: Decoder,
    states: Float[Tensor, "length hidden"],
    layer: Layer,
    *,
    eps: Tolerance,
    certify: bool = False,
    **settings: Unpack[Settings],
) -> Recovery:
    """Inverts the states of one prompt.

    Args:
        decoder: the model the states are inverted with.
        states: at every position of the prompt, known tokens included (:func:`observe`).
        layer: the layer they were captured at.
        eps: the largest observation error; see :class:`SipIt`.
        certify: make a pass over the whole vocabulary at every position, not at the first alone.
        settings: see :class:`SipIt`.

    Raises:
        OptionError: a setting is not accepted, or the states do not fit the model.
        LayerError: the model has no such layer.
        PromptError: a known token is not in the vocabulary.
    """
    sipit = SipIt(decoder, layer, eps=eps, **settings)
    check_states(decoder, states, sipit.known)
    recoveries = sipit.recover([states])
    if certify:
        positions = [(0, at) for at in range(len(sipit.known), len(states))]
        sipit.certifier.certify([states], recoveries, positions)
    return sipit.finished([states], recoveries)[0]


def recover_all(
    decoder: Decoder,
    states: Sequence[Float[Tensor, "_length hidden"]],
    layer: Layer,
    *,
    eps: Tolerance,
    certify: int | None = None,
    progress: Callable[[int], None] | None = None,
    **settings: Unpack[Settings],
) -> Inversion:
    """Inverts the states of many prompts at one layer, sharing what they have in common.

    Args:
        decoder: the model the states are inverted with.
        states: of each prompt, as for :func:`recover`.
        layer: the layer they were captured at.
        eps: the largest observation error; see :class:`SipIt`.
        certify: how many positions, drawn at random over all prompts, get a pass over the whole
            vocabulary: their ambiguity rate estimates that of all. None: until their passes have run
            as many tokens as the recovery did, what prompts share included; at least one position
            and at most `CERTIFIED_POSITIONS`. Tokens are counted and not seconds, so that the same
            states have the same positions certified on every machine.
        progress: called with the number of steps done, of two a prompt: it is inverted, and its
            ambiguous answers are evaluated.
        settings: see :class:`SipIt`.

    Raises:
        OptionError: there are no prompts, a setting is not accepted, or states do not fit the model.
        LayerError: the model has no such layer.
        PromptError: a known token is not in the vocabulary.
    """
    started = time.perf_counter()
    check_asked(states, certify)
    sipit = SipIt(decoder, layer, eps=eps, **settings)
    for one in states:
        check_states(decoder, one, sipit.known)
    recoveries = sipit.recover(states, progress)
    forwards = sipit.work.forwards
    most = CERTIFIED_POSITIONS if certify is None else certify
    drawn = draw_positions([len(one) for one in states], len(sipit.known), most, sipit.seed)
    budget = None if certify is not None else forwards + sipit.shared
    sample = sipit.certifier.certify(states, recoveries, drawn, budget)
    finished = sipit.finished(states, recoveries, progress)
    seconds = time.perf_counter() - started
    return Inversion(
        layer=sipit.layer,
        policy=sipit.policy_name,
        recoveries=finished,
        sample=sample,
        seconds=seconds,
        forwards=forwards,
        shared=sipit.shared,
        certificates=sipit.work.certificates,
    )
