"""Certificates: an accepted answer is held against the whole vocabulary (SPEC section 4).

One pass over the candidates behind the answer's prefix shows whether another one verifies too, and how
far the answer's state is from its nearest rival (``delta``). The pass is streamed: of each block of
candidates only distances are kept, so that a vocabulary of any size needs the memory of one block.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Float64, Int
from pytest_injectivity.inversion.one_step import OneStep, distances, distances_from_each
from pytest_injectivity.inversion.recovery import Outcome, Recovery, Work
from pytest_injectivity.inversion.search import Nearest, conclude, nearest_of
from pytest_injectivity.inversion.token_classes import TokenClasses
from pytest_injectivity.inversion.verifiers import Tolerances
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.scaled import Scale


def draw_positions(
    lengths: Sequence[int], known: int, count: int, seed: int
) -> tuple[tuple[int, int], ...]:
    """``(prompt, position)`` of positions searched, in a random order, none twice.

    Args:
        lengths: of the prompts.
        known: first positions of each, which are not searched.
        count: at most so many.
        seed: of the order.
    """
    every = [
        (prompt, position)
        for prompt, length in enumerate(lengths)
        for position in range(known, length)
    ]
    drawn = np.random.default_rng(seed).permutation(len(every))[:count]
    return tuple(every[index] for index in drawn.tolist())


class Certifier:
    """Certifies positions of prompts at one layer.

    Args:
        decoder: the model.
        layer: the layer inverted.
        tolerances: what the verifiers are made of.
        classes: the candidates.
        work: counts the tokens run.
        rest: ``rest(states, ids)`` inverts what follows these tokens in a prompt.
        block_elements: of the states of one block of candidates.
    """

    def __init__(
        self,
        decoder: Decoder,
        layer: Layer,
        *,
        tolerances: Tolerances,
        classes: TokenClasses,
        work: Work,
        rest: Callable[[Float[Tensor, "length hidden"], tuple[int, ...]], tuple[Outcome, ...]],
        block_elements: int = 2**22,
    ) -> None:
        self._decoder = decoder
        self._layer = layer
        self._tolerances = tolerances
        self._classes = classes
        self._work = work
        self._rest = rest
        self._block = max(1, block_elements // decoder.hidden_size)

    def certify(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        recoveries: list[Recovery],
        positions: Sequence[tuple[int, int]],
        budget: int | None = None,
    ) -> tuple[tuple[int, int], ...]:
        """Certifies positions of inverted prompts, until that has cost enough.

        A token that comes nearer than the one accepted takes its place, and what follows it in its
        prompt is inverted, and certified where it was, again.

        Args:
            states: of each prompt at every position.
            recoveries: of these prompts; changed in place.
            positions: ``(prompt, position)`` in the order in which they are certified.
            budget: tokens run, after which no further position is begun; one always is. None: all.

        Returns:
            The positions certified.
        """
        spent = self._work.certificates
        done: list[tuple[int, int]] = []
        for place in self.steps(states, recoveries, positions):
            done.append(place)
            if budget is not None and self._work.certificates - spent >= budget:
                break
        return tuple(done)

    def steps(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        recoveries: list[Recovery],
        positions: Sequence[tuple[int, int]],
        done: Sequence[tuple[int, int]] = (),
    ) -> Iterator[tuple[int, int]]:
        """Certifies one position after the other, and gives each when its prompt is changed.

        Args:
            states: as for `certify`.
            recoveries: likewise.
            positions: likewise.
            done: positions that were certified before.
        """
        certified = list(done)
        for prompt, position in positions:
            certified.append((prompt, position))
            changed = self._put(states[prompt], recoveries, prompt, position)
            while changed:
                again = sorted(at for one, at in certified if one == prompt and at > position)
                changed = any(self._put(states[prompt], recoveries, prompt, at) for at in again)
            yield prompt, position

    def _put(
        self,
        states: Float[Tensor, "length hidden"],
        recoveries: list[Recovery],
        prompt: int,
        position: int,
    ) -> bool:
        """Certifies one position; returns whether what follows it was inverted again."""
        recovery, started = recoveries[prompt], time.perf_counter()
        at = position - len(recovery.known)
        before, accepted = recovery.outcomes[:at], recovery.outcomes[at]
        if accepted.token is None:
            return False
        ids = (*recovery.known, *(one.token for one in before if one.token is not None))
        outcome = self.outcome(ids, states[position], accepted)
        after = recovery.outcomes[at + 1 :]
        changed = outcome.token is not None and outcome.token != accepted.token
        if changed and after:
            after = self._rest(states, (*ids, cast("int", outcome.token)))
        seconds = recovery.seconds + time.perf_counter() - started
        recoveries[prompt] = replace(recovery, outcomes=(*before, outcome, *after), seconds=seconds)
        return changed

    def outcome(
        self, ids: tuple[int, ...], target: Float[Tensor, " hidden"], accepted: Outcome
    ) -> Outcome:
        """The outcome of a position after a pass over the whole vocabulary.

        A token that is nearer than the one accepted takes its place. What has been compared with the
        whole vocabulary already, or has no answer, stays as it is and costs nothing.

        Args:
            ids: the tokens before the position.
            target: the state at the position.
            accepted: the outcome so far.
        """
        if accepted.token is None or accepted.margin is not None:
            return accepted
        step = OneStep.of(self._decoder, self._layer, ids)
        self._work.certificates += len(ids)
        verifier = self._tolerances.verifier(accepted.position, target)
        tokens = self._ordered(accepted.token)
        away, margins = self._compared(step, tokens, target, verifier.scale)
        # As it was accepted: another evaluation of the answer may lie on the other side of eps.
        away[0] = accepted.away
        answer, residual = nearest_of(tokens, away), accepted.residual
        if answer:
            nearer = int(tokens[answer])
            own = step(tokens[answer : answer + 1])
            residual = float(distances(own, target)[0])
            _, margins = self._compared(step, self._ordered(nearer), target, verifier.scale)
        found = conclude(
            accepted.position,
            verifier,
            tokens,
            away,
            Nearest(answer, residual, *margins),
            accepted.tried,
        )
        return replace(found, rank=None if answer else accepted.rank)

    def _ordered(self, answer: int) -> Int[Tensor, " candidates"]:
        """All candidates, the answer first."""
        every = self._classes.tokens
        return torch.cat([torch.tensor([answer]), every[every != answer]])

    def _compared(
        self,
        step: OneStep,
        tokens: Int[Tensor, " candidates"],
        target: Float[Tensor, " hidden"],
        scale: Scale | None,
    ) -> tuple[Float64[Tensor, " candidates"], tuple[float, float]]:
        """How far each candidate is from the state, and ``delta`` of the first: Euclidean and judged."""
        parts: list[Tensor] = []
        answer: Tensor | None = None
        least = [float("inf"), float("inf")]
        for some in torch.split(tokens, self._block):
            states = step(some)
            self._work.certificates += len(some)
            rivals = states
            if answer is None:
                answer, rivals = states[:1], states[1:]
            parts.append(distances(states, target, scale))
            scales = (None, scale) if scale is not None else (None,)
            found = [distances_from_each(rivals, answer, one) for one in scales]
            nearest = [float(one.min()) if one.numel() else float("inf") for one in found]
            least = [min(pair) for pair in zip(least, chain(nearest, nearest[:1]), strict=False)]
        return torch.cat(parts), (least[0], least[1])
