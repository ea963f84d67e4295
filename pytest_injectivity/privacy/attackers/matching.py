"""Shuffled positions: released rows are matched with positions by what tokens could have made them.

A state tells where it stands: the one-step map of position t, along the prefix before it, passes
through the row of t and, for all but chance, through no other.

Source: Thomas et al., "Hidden No More: Attacking and Defending Private Third-Party LLM Inference"
(arXiv 2505.18332, ICML 2025): vocabulary matching against permuted hidden states, one position
after the other, in linear time. Ours takes the noise's own metric, and along the true prefix one
assignment of all rows at once in the place of the first match.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class MatchingAttacker:
    """Every row against every token's image, and each row taken once."""

    name = "matching"
    source = "Hidden No More: Thomas et al., arXiv 2505.18332"
    teacher_forced = True
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """All positions, in an order nobody was told."""
        return (
            channel.place.everywhere and not channel.release.ordered and not channel.hides_rotation
        )

    def begin(self, setting: AttackSetting) -> "_MatchingAttack":
        """Remembers which rows are taken."""
        return _MatchingAttack(setting)


class _MatchingAttack(BaseAttack):
    def __init__(self, setting: AttackSetting) -> None:
        self._released = setting.channel.released
        self._teacher_forced = setting.teacher_forced
        self._taken: dict[int, set[int]] = {}
        self._costs: dict[int, list[np.ndarray]] = {}
        self._tokens: dict[int, list[np.ndarray]] = {}

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest pair of a token and a row not taken yet."""
        rows = torch.cat([self._released[one] for one in prompts])
        found = view.weighed.nearest(rows)
        sizes = [len(self._released[one]) for one in prompts]
        answers = []
        for prompt, costs, tokens in zip(
            prompts,
            torch.split(found.values[:, 0].cpu(), sizes),
            torch.split(found.tokens[:, 0].cpu(), sizes),
            strict=True,
        ):
            self._costs.setdefault(prompt, []).append(costs.numpy())
            self._tokens.setdefault(prompt, []).append(tokens.numpy())
            taken = self._taken.setdefault(prompt, set())
            free = costs.clone()
            free[list(taken)] = torch.inf
            row = int(free.argmin())
            taken.add(row)
            answers.append(int(tokens[row]))
        return Guess.unverified(torch.tensor(answers))

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:
        """The assignment of rows to positions whose distances are least in sum.

        Where the attack went on from its own answers they stay: what follows was computed after them.
        """
        if not self._teacher_forced:
            return tokens
        costs, found = np.stack(self._costs[prompt]), np.stack(self._tokens[prompt])
        positions, rows = linear_sum_assignment(costs)
        return [int(found[position, row]) for position, row in zip(positions, rows, strict=True)]
