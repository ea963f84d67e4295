"""Speculative inversion: many prompts at once, guessed by the lens and verified by few passes.

By causality one pass over a guessed sequence verifies every position before the first wrong one (SPEC
section 4), where the published algorithm ([N] alg. 1) runs each position by itself. The same pass shows
what the context adds at all later positions, so that all their guesses improve together
(:meth:`Lens.corrected`); verified tokens stay cached and are not run again. The first wrong position is
settled by shortlists (`shortlist_search`) before the next pass.

The lens only orders the candidates. A token is accepted by the verifier, from a state computed
after verified tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.limits import InversionLimits
from pytest_injectivity.inversion.partial_prompt import PartialPrompt
from pytest_injectivity.inversion.recovery import Outcome, Status, Work
from pytest_injectivity.inversion.search import Tested
from pytest_injectivity.inversion.shortlist_search import ShortlistSearch
from pytest_injectivity.inversion.token_classes import TokenClasses
from pytest_injectivity.inversion.verifiers import Tolerances
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix_buffer import Continued
from pytest_injectivity.states.batches import plan_batches

# Guesses verified in one pass: as many again as were right in the last, and at least so many.
_LEAST_WINDOW = 16
_BATCH_TOKENS = 4096


class _Failure(NamedTuple):
    """A prompt whose next position a pass did not verify, and where that stands in the pass."""

    prompt: int
    row: int
    column: int
    end: int


class Speculation:
    """Inverts prompts side by side; their prefixes are cached together.

    Args:
        decoder: the model.
        layer: the layer inverted.
        lens: its lens.
        tolerances: what the verifiers are made of.
        classes: the candidates.
        known: tokens every prompt begins with.
        work: counts the tokens run.
        limits: sizes of shortlists.
    """

    def __init__(
        self,
        decoder: Decoder,
        layer: Layer,
        lens: Lens,
        *,
        tolerances: Tolerances,
        classes: TokenClasses,
        known: Sequence[int],
        work: Work,
        limits: InversionLimits,
    ) -> None:
        self.decoder = decoder
        self.layer = layer
        self.lens = lens
        self.tolerances = tolerances
        self.classes = classes
        self.known = tuple(known)
        self.work = work
        self._shortlists = ShortlistSearch(
            decoder, layer, lens, tolerances.ball, classes=classes, work=work, limits=limits
        )

    def invert(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        firsts: Sequence[Outcome | None],
    ) -> list[tuple[Outcome, ...]]:
        """The outcomes of each prompt.

        Args:
            states: of each prompt.
            firsts: the outcome of its first position searched, where it was looked up in a table.
        """
        self.prompts = [self._begun(*one) for one in zip(states, firsts, strict=True)]
        self.prefixes = self.decoder.prefix_buffer(len(states), max(map(len, states)), self.layer)
        while active := [at for at, prompt in enumerate(self.prompts) if not prompt.done]:
            self._shortlists.settle(self.prompts, self.prefixes, self._verify(active))
        return [tuple(prompt.outcomes) for prompt in self.prompts]

    def _begun(self, states: Tensor, first: Outcome | None) -> PartialPrompt:
        positions = torch.arange(len(states), device=states.device)
        queries = self.lens.uncorrected(states, positions)
        prompt = PartialPrompt(
            states=states,
            ids=list(self.known),
            guesses=self._first(queries),
            queries=queries,
            finite=states.isfinite().all(dim=1).tolist(),
            window=len(states),
            tested=Tested(states[len(self.known)], self.tolerances.ball(len(self.known)).scale),
            later=self.tolerances.ball(1).scale,
        )
        if first is not None:
            prompt.settle(first)
        return prompt

    def _verify(self, active: Sequence[int]) -> list[int]:
        """Runs one pass over all guesses; returns the prompts whose next position it did not verify."""
        rows = {at: self._guessed(at) for at in active}
        cached = self.prefixes.lengths(active)
        # Families that cache nothing run their prefixes again.
        before = 0 if self.decoder.masks else int(cached.max())
        failed = []
        lengths = [len(rows[at]) for at in active]
        for batch in plan_batches(lengths, batch_tokens=_BATCH_TOKENS, prefix=before):
            numbers = [active[row] for row in batch.rows]
            ids = batch.ids([rows[at] for at in active])
            # Dummy rows keep the shape canonical.
            every = numbers + numbers[:1] * (batch.height - len(numbers))
            found = self.decoder.continued(self.prefixes, every, ids)
            self.work.forwards += sum(len(rows[at]) for at in numbers)
            if not self.decoder.masks:
                self.work.forwards += int(self.prefixes.lengths(numbers).sum())
            failed += self._judge(found, [len(rows[at]) for at in numbers])
        return failed

    def _guessed(self, at: int) -> list[int]:
        """What continues a prompt's cached prefix: tokens settled since it was cached, then guesses."""
        prompt, cached = self.prompts[at], len(self.prefixes.ids[at])
        end = min(len(prompt.states), prompt.at + prompt.window)
        return prompt.ids[cached:] + prompt.guesses[prompt.at : end].tolist()

    def _judge(self, found: Continued, lengths: Sequence[int]) -> list[int]:
        """Settles the verified positions, keeps them cached, and improves the guesses for the rest."""
        (residuals, away), ids = self._distances(found, lengths), found.ids.tolist()
        failed, counts = [], [0] * len(found.rows)
        for row, (at, length) in enumerate(zip(found.rows, lengths, strict=False)):
            prompt, cached = self.prompts[at], len(self.prefixes.ids[at])
            begun, end = prompt.at, cached + length
            while not prompt.done and prompt.at < end:
                column = prompt.at - cached
                state = found.states[row, column]
                distance = residuals[row][column], away[row][column]
                if not self._accepts(prompt, ids[row][column], distance, state):
                    break
            counts[row] = min(prompt.at, end) - cached
            prompt.window = max(_LEAST_WINDOW, 2 * (prompt.at - begun))
            if prompt.at < end and not prompt.done:
                failed.append(_Failure(at, row, prompt.at - cached, length))
        self.prefixes.keep(found, counts)
        self._guess_again(found, failed)
        return [one.prompt for one in failed]

    def _distances(
        self, found: Continued, lengths: Sequence[int]
    ) -> tuple[list[list[float]], list[list[float]]]:
        """How far each guess is from its state: Euclidean, and as the verifiers measure it."""
        targets = found.states.new_zeros(found.states.shape, dtype=torch.float64)
        for row, (at, length) in enumerate(zip(found.rows, lengths, strict=False)):
            cached = len(self.prefixes.ids[at])
            states = self.prompts[at].states[cached : cached + length]
            targets[row, : len(states)] = states
        off = found.states.double() - targets
        residuals = away = torch.linalg.vector_norm(off, dim=2)
        if self.tolerances.scales is not None:
            away = self.tolerances.scales.later.norms(off)
            for row, at in enumerate(found.rows[: len(lengths)]):
                if not self.prefixes.ids[at]:
                    away[row, 0] = self.tolerances.scales.first.norms(off[row, 0])
        told = (torch.where(one.isnan(), torch.inf, one).tolist() for one in (residuals, away))
        return next(told), next(told)

    def _accepts(
        self,
        prompt: PartialPrompt,
        token: int,
        distance: tuple[float, float],
        state: Float[Tensor, " hidden"],
    ) -> bool:
        """Tests a guess behind a verified prefix, and settles its position where it verifies.

        Args:
            prompt: whose next position is tested.
            token: the guess.
            distance: of its state from the true one, Euclidean and as the verifier measures it.
            state: of the guess.
        """
        residual, away = distance
        position = prompt.at
        if not prompt.finite[position]:
            prompt.settle(Outcome(position, Status.NOT_FINITE))
            return False
        ball = self.tolerances.ball(position)
        accepted, tested = away <= ball.eps, prompt.tested
        if not accepted or len(tested):
            tested.add(torch.tensor([token]), state[None], torch.tensor([away]).double())
        if not accepted:
            return False
        if len(tested) > 1:
            ball = self.tolerances.ball(position, prompt.states[position])
            prompt.settle(tested.outcome(position, ball, len(self.classes), len(tested)))
        else:
            # The ball's judgement of a single candidate, by which most positions are settled.
            prompt.settle(
                Outcome(position, Status.ACCEPTED, token, residual, ball.eps, away, tried=1, rank=0)
            )
        return True

    def _guess_again(self, found: Continued, failed: Sequence["_Failure"]) -> None:
        """Ranks every unverified position anew, by what the pass shows of its context."""
        if not failed:
            return
        here = [(one.row, slice(one.column, one.end)) for one in failed]
        there = [
            slice(at := self.prompts[one.prompt].at, at + one.end - one.column) for one in failed
        ]
        targets = [
            self.prompts[one.prompt].states[to] for one, to in zip(failed, there, strict=True)
        ]
        queries = self.lens.corrected(
            torch.cat(targets),
            torch.cat([found.states[place] for place in here]),
            torch.cat([found.ids[place] for place in here]),
        )
        # A state that is not finite says nothing about its context.
        usable = queries.isfinite().all(dim=1)
        guesses = self._first(queries)
        sizes = [one.end - one.column for one in failed]
        for one, to, query, guess, better in zip(
            failed,
            there,
            torch.split(queries, sizes),
            torch.split(guesses, sizes),
            torch.split(usable, sizes),
            strict=True,
        ):
            prompt = self.prompts[one.prompt]
            prompt.queries[to][better] = query[better]
            prompt.guesses[to][better.cpu()] = guess[better.cpu()]

    def _first(self, queries: Float[Tensor, "states hidden"]) -> Int[Tensor, " states"]:
        """The most likely candidate of each query: of one that is not finite, any candidate."""
        return self.classes.representative[self.lens.rank(queries, 1)[:, 0]]
