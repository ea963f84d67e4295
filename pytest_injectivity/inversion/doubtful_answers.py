"""Evaluates answers that rivals make ambiguous or that do not verify (SPEC sections 2 and 4).

The radius covers two evaluations of nearly every one of thousands of tokens. In 16 bits a few tokens are
evaluated ten times more coarsely than the others, so that many answers have a rival within three radii
though their own evaluations hardly differ. Such an answer and its rivals are therefore evaluated in the
eight ways of `last_states`, and the observed state counts as a ninth evaluation of the answer. A rival
that section 2 resolves from the answer so is no rival.

Such a token may itself be the answer: its state is then farther from another evaluation of it than the
radius, and does not verify. It is verified where section 2 does not resolve the observed state from the
eight, and the whole vocabulary shows that no other token is as near.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.inversion.recovery import Outcome, Recovery, Status
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.last_states import evaluate_last
from pytest_injectivity.states.pair_decisions import Kind, decide
from pytest_injectivity.states.scaled import Scales


class DoubtfulAnswers:
    """Decides doubtful answers by evaluation, at one layer of one model.

    The states must be the model's own. An observation error is not among the evaluations, so that
    states from elsewhere would be told apart that are not.

    Args:
        decoder: the model.
        layer: the layer inverted.
        scales: the resolution of each coordinate.
    """

    def __init__(self, decoder: Decoder, layer: Layer, scales: Scales) -> None:
        self._decoder = decoder
        self._layer = layer
        self._scales = scales
        # Many prompts begin with the same token.
        self._firsts: dict[int, Tensor] = {}

    def settled(self, states: Float[Tensor, "length hidden"], recovery: Recovery) -> Recovery:
        """The recovery without the rivals that evaluation tells from their answers.

        Args:
            states: of the prompt at every position.
            recovery: of the prompt. Its answers stay. One that keeps a rival stays ambiguous, and one
                that evaluation tells from its state unverified.
        """
        outcomes = [
            self._outcome(recovery.ids, one, states[one.position]) for one in recovery.outcomes
        ]
        return replace(recovery, outcomes=tuple(outcomes))

    def _outcome(
        self, ids: Sequence[int | None], found: Outcome, target: Float[Tensor, " hidden"]
    ) -> Outcome:
        before = tuple(one for one in ids[: found.position] if one is not None)
        if found.token is None or len(before) < found.position:
            return found
        # Rivals within the radius that are not listed cannot be evaluated.
        if found.status is Status.AMBIGUOUS and found.near <= len(found.rivals):
            states = self._evaluated(before, (found.token, *found.rivals))
            return self._without_rivals(found, states, target)
        if found.status is Status.NEAREST and found.margin is not None:
            (own,) = self._evaluated(before, (found.token,))
            return self._if_its_own(found, own, target, found.margin)
        return found

    def _without_rivals(
        self,
        found: Outcome,
        states: Float[Tensor, "tokens ways hidden"],
        target: Float[Tensor, " hidden"],
    ) -> Outcome:
        """The answer without the rivals that its evaluations are told from."""
        observed = target[None].to(states.device)
        own = torch.cat([states[0], observed])
        # Every prompt has as many evaluations: that a rival's first counts twice changes no distance.
        others = {at: torch.cat([rows, rows[:1]]) for at, rows in enumerate(states) if at}
        pairs = [(0, at) for at in others]
        decisions = decide({0: own} | others, pairs, self._scales.at(found.position))
        left = tuple(
            rival
            for rival, decision in zip(found.rivals, decisions, strict=True)
            if decision.kind is not Kind.RESOLVED
        )
        sure = Status.ACCEPTED if found.margin is None else Status.CERTIFIED
        return replace(
            found,
            status=Status.AMBIGUOUS if left else sure,
            rivals=left,
            told_apart=len(found.rivals) - len(left),
        )

    def _if_its_own(
        self,
        found: Outcome,
        own: Float[Tensor, "ways hidden"],
        target: Float[Tensor, " hidden"],
        margin: float,
    ) -> Outcome:
        """The answer, verified where the state is one of its evaluations and no rival is as near."""
        observed = target.to(own.device).expand_as(own)
        (decision,) = decide({0: own, 1: observed}, [(0, 1)], self._scales.at(found.position))
        unique = found.residual + decision.itself < margin / 2
        if decision.kind is Kind.RESOLVED or not unique:
            return found
        eps = max(found.away, decision.scaled_itself)
        return replace(found, status=Status.ACCEPTED, eps=eps, by_evaluation=True)

    def _evaluated(
        self, before: tuple[int, ...], tokens: Sequence[int]
    ) -> Float[Tensor, "tokens ways hidden"]:
        """The states of tokens after a prefix in each way."""
        known = {} if before else self._firsts
        new = [token for token in tokens if token not in known]
        if new:
            prompts = [(*before, token) for token in new]
            found = evaluate_last(self._decoder, prompts, [self._layer])[self._layer]
            known |= dict(zip(new, found, strict=True))
        return torch.stack([known[token] for token in tokens])
