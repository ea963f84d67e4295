"""The matching attacker reads shuffled rows by the tokens that could have made them.

A state depends on its position: among the candidates of position t after its prefix is one near the row
of position t and, apart from chance, none near another row.

Source: Thomas et al., "Hidden No More: Attacking and Defending Private Third-Party LLM Inference"
(arXiv 2505.18332, ICML 2025): vocabulary matching against permuted hidden states, one position
after the other, in linear time. This version uses the metric of the noise and, teacher-forced, assigns
all rows at once instead of taking the first match.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class MatchingAttacker:
    """Compares every row with every candidate's image, and takes each row once."""

    name = "matching"
    source = "Hidden No More: Thomas et al., arXiv 2505.18332"
    teacher_forced = True
    free_running = True
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether all positions are released in an unknown order."""
        return channel.place.everywhere and not channel.release.ordered and not channel.hides_matrix

    def begin(self, setting: AttackSetting) -> "_MatchingAttack":
        """Begins an attack that remembers which rows are taken."""
        return _MatchingAttack(setting)


class _MatchingAttack(BaseAttack):
    def __init__(self, setting: AttackSetting) -> None:
        self._released = setting.channel.released
        self._teacher_forced = setting.teacher_forced
        self._taken: dict[int, set[int]] = {}
        self._costs: dict[int, list[np.ndarray]] = {}
        self._tokens: dict[int, list[np.ndarray]] = {}

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The token of the nearest pair of a candidate and a row not taken yet."""
        rows = torch.cat([self._released[one] for one in prompts])
        found = view.whole.weighed.nearest(rows)
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
        """The tokens by the assignment of rows to positions with the smallest sum of distances.

        Free-running answers stay as they are: later positions were computed after them.
        """
        if not self._teacher_forced:
            return tokens
        costs, found = np.stack(self._costs[prompt]), np.stack(self._tokens[prompt])
        positions, rows = linear_sum_assignment(costs)
        return [int(found[position, row]) for position, row in zip(positions, rows, strict=True)]
