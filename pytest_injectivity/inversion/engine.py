"""The engine of an inversion: what is settled once for all prompts of a layer."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, resolve_layers
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.lens import Lens, calibrate_first, calibration_size
from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.inversion.policies import ByLens, Policy, Situation, make_policy
from pytest_injectivity.inversion.recovery import Outcome, Recovery, Status
from pytest_injectivity.inversion.search import look_up, search
from pytest_injectivity.inversion.speculation import Speculation, Work
from pytest_injectivity.inversion.tolerances import Tolerance, Tolerances, VerifierName
from pytest_injectivity.models.decoder import Decoder

DEFAULT_POLICY = "lens"
"""The policy used where none is named."""

# Keys and values of prompts inverted side by side.
_CACHED_BYTES = 2**29
# A vocabulary beyond this many tokens costs more at one position than a few prompts at all of theirs.
_LARGEST_TABLE = 2**16

DEFAULT_BACKOFF = 4.0
"""How far ``eps`` may be widened where nothing else is said.

The noise floor is the largest error seen in a sample, and a state and its candidate are two
evaluations, each with an error of its own: up to twice the floor apart, and twice again where the
sample missed the worst. Trained models of 0.3M to 1M parameters needed 1.6.
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
        eps: the largest observation error, in the states' units: the noise floor for states of this
            very model, else the error given or estimated for them; by position where it differs.
        nu: how far two evaluations of one candidate may lie apart; ``eps`` where it is not given.
        policy: orders the candidates, by name (one of ``policies.POLICIES``) or as an object.
        verifier: ``"ball"``; or ``"argmin"``, which always answers and verifies nothing.
        backoff: the largest factor by which ``eps`` is widened where nothing verifies, and never
            past the point where uniqueness stops; the outcome then reads "accepted, uncertified"
            and says how far. 1 widens nothing.
        batch: candidates tested at first at a position; doubled each time after.
        seed: decides the random policy's order and the positions certified.
        known: tokens every prompt begins with (a special token): not searched, their rows skipped.

    Raises:
        OptionError: a tolerance, the policy, the verifier, the batch or the seed is not accepted.
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
        policy: str | Policy = DEFAULT_POLICY,
        verifier: VerifierName = "ball",
        backoff: float = DEFAULT_BACKOFF,
        batch: int = 64,
        seed: int = 0,
        known: Sequence[int] = (),
    ) -> None:
        if batch < 1:
            raise OptionError(f"batch={batch} tests nothing: give an integer that is at least 1")
        if seed < 0:
            raise OptionError(f"seed={seed} is negative: give an integer that is at least 0")
        (self.layer,) = resolve_layers(layer, decoder.n_layers)
        self.decoder = decoder
        self.tolerances = Tolerances.of(verifier, eps, nu, backoff)
        self.policy = make_policy(policy, seed) if isinstance(policy, str) else policy
        self.policy_name = policy if isinstance(policy, str) else repr(policy)
        self.batch = batch
        self.seed = seed
        self.known = tuple(known)
        self.work = Work()
        self._first = OneStep.of(decoder, self.layer, self.known)

    def recover(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        certified: Sequence[Collection[int]],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Recovery, ...]:
        """Inverts prompts, with a pass over the whole vocabulary at the positions named.

        Args:
            states: of each prompt at every position, known tokens included.
            certified: positions of each prompt; the first one searched is always looked up in its
                table, where that is made.
            progress: called with the number of prompts done.
        """
        found: list[Recovery] = []
        speculates = isinstance(self.policy, ByLens) and self.tolerances.name == "ball"
        work = self._speculated if speculates else self._searched
        for recovery in work(states, certified):
            found.append(recovery)
            if progress is not None:
                progress(len(found))
        return tuple(found)

    def calibrate(self, states: Sequence[Float[Tensor, "_length hidden"]]) -> Lens:
        """Computes what all prompts share, as :meth:`recover` does when it begins: lens and table."""
        if not isinstance(self.policy, ByLens):
            raise OptionError(f"policy {self.policy_name} has nothing to calibrate: give lens")
        if self._first_table() is None and not self.known:
            self._first_lens  # noqa: B018 - computed here, not where a prompt is timed
        return self.policy.lens(
            self.decoder,
            self.layer,
            tokens=self._calibration_size(sum(map(len, states))),
            length=max(map(len, states)),
            known=self.known,
        )

    def _searched(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        certified: Sequence[Collection[int]],
    ) -> Iterator[Recovery]:
        """One prompt and one position after the other."""
        for one, positions in zip(states, certified, strict=True):
            started = time.perf_counter()
            outcomes = tuple(self._outcomes(one, positions))
            yield Recovery(self.known, outcomes, time.perf_counter() - started)

    def _outcomes(
        self, states: Float[Tensor, "length hidden"], certified: Collection[int]
    ) -> Iterator[Outcome]:
        step, outcome = self._first, None
        for position in range(len(self.known), len(states)):
            if outcome is not None:
                if outcome.token is None:
                    yield Outcome(position, Status.NOT_REACHED)
                    continue
                step = step.after(outcome.token)
            at = Situation(step, states[position])
            outcome = self._invert(at, position, certify=position in certified)
            # The answer is run once more as it becomes part of the prefix.
            self.work.forwards += outcome.tried + (position + 1 < len(states))
            if outcome.tried and outcome.margin is not None:
                self.work.certificates += self.decoder.vocab_size - outcome.tried
            yield outcome

    def _speculated(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        certified: Sequence[Collection[int]],
    ) -> Iterator[Recovery]:
        """As many prompts side by side as their caches have room for."""
        together = max(1, self._cached_tokens() // max(map(len, states)))
        lens = self.calibrate(states)
        for start in range(0, len(states), together):
            some, positions = states[start : start + together], certified[start : start + together]
            started = time.perf_counter()
            firsts = self._firsts(some, positions)
            outcomes = self._speculation(lens).invert(some, firsts, positions)
            seconds = (time.perf_counter() - started) / len(some)
            for one in outcomes:
                yield Recovery(self.known, one, seconds)

    def _speculation(self, lens: Lens) -> Speculation:
        return Speculation(
            self.decoder,
            self.layer,
            lens,
            tolerances=self.tolerances,
            known=self.known,
            work=self.work,
        )

    def _firsts(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        certified: Sequence[Collection[int]],
    ) -> Sequence[Outcome | None]:
        """The outcomes of the first position searched, where it is not searched like the others."""
        table, at = self._first_table(), len(self.known)
        if table is not None:
            return self.look_up(table, torch.stack([one[at] for one in states]), at)
        if self.known:
            return [None] * len(states)
        alone = self._speculation(self._first_lens).invert(
            [one[:1] for one in states],
            [None] * len(states),
            [{0}.intersection(positions) for positions in certified],
        )
        return [outcome for (outcome,) in alone]

    @cached_property
    def _first_lens(self) -> Lens:
        """The lens of position 0, a position like no other."""
        tokens = self._calibration_size(self.decoder.vocab_size)
        return calibrate_first(self.decoder, self.layer, tokens=tokens, seed=self.seed)

    def _calibration_size(self, positions: int) -> int:
        return calibration_size(self.decoder.vocab_size, self.decoder.hidden_size, positions)

    def _first_table(self) -> Float[Tensor, "vocab hidden"] | None:
        return None if self.decoder.vocab_size > _LARGEST_TABLE else self._table

    def _cached_tokens(self) -> int:
        """How many tokens may be cached at once."""
        each = 2 * self.decoder.n_layers * self.decoder.hidden_size * self.decoder.dtype.itemsize
        return _CACHED_BYTES // each

    def look_up(
        self,
        table: Float[Tensor, "vocab hidden"],
        targets: Float[Tensor, "targets hidden"],
        position: int,
    ) -> list[Outcome]:
        """Inverts states by a table of their position's one-step map."""
        return look_up(table, targets, position, self.tolerances.verifier(position))

    def draw(self, lengths: Sequence[int], count: int) -> tuple[tuple[int, int], ...]:
        """``(prompt, position)`` of ``count`` positions searched, at random, none twice, in order."""
        every = [
            (prompt, position)
            for prompt, length in enumerate(lengths)
            for position in range(len(self.known), length)
        ]
        drawn = np.random.default_rng(self.seed).permutation(len(every))[:count]
        return tuple(every[index] for index in sorted(drawn.tolist()))

    def check(self, states: Float[Tensor, "length hidden"]) -> None:
        """Refuses states that do not fit the model or the known tokens.

        Raises:
            OptionError: their width or their number is wrong.
        """
        length, hidden = states.shape
        if hidden != self.decoder.hidden_size:
            raise OptionError(
                f"states of width {hidden} cannot be inverted with {self.decoder.source}, whose"
                f" states have width {self.decoder.hidden_size}"
            )
        longest = self.decoder.context
        if length <= len(self.known) or (longest is not None and length > longest):
            raise OptionError(
                f"states of {length} positions, the first {len(self.known)} of them known: give at"
                f" least one more than is known, and at most {longest or 'any number'} in all"
            )

    @cached_property
    def _table(self) -> Float[Tensor, "vocab hidden"]:
        return self._first.table()

    def _invert(self, at: Situation, position: int, *, certify: bool) -> Outcome:
        if position == len(self.known):
            (outcome,) = self.look_up(self._table, at.target[None], position)
            return outcome
        verifier = self.tolerances.verifier(position)
        return search(at, position, self.policy, verifier, batch=self.batch, certify=certify)
