"""SipIt as published, for ``./dev bench sipit`` and ``./dev bench real``."""

import math
import statistics
import time

import torch
from sipit_samples import Sample
from torch import Tensor


class OutOfTimeError(Exception):
    """The search was stopped.

    Attributes:
        prompts: how many prompts were done.
        tokens: how many tokens of the next one were found.
        tested: candidates tested in all.
    """

    def __init__(self, prompts: int, tokens: int, tested: int) -> None:
        super().__init__(
            f"stopped after {prompts} prompts and {tokens} tokens, {tested} candidates"
        )
        self.prompts = prompts
        self.tokens = tokens
        self.tested = tested


def published(sample: Sample, limit: float = math.inf) -> tuple[int, float]:
    """[N] alg. 1 and 3 with the settings of app. E: prompts that came back, candidates a token.

    At each position a continuous embedding is moved by the clipped gradient of the squared distance,
    its step decaying from 1.0 to 0.01; each step proposes the nearest row not tried yet, which is put on
    the embedding's place every 50 steps. One candidate a step; no state is kept between passes. Accepted
    is what lies within the resolution, in the Euclidean distance.

    Args:
        sample: what is inverted.
        limit: seconds of processor time after which it stops.

    Raises:
        OutOfTimeError: it was stopped.
    """
    return _Published(sample, time.process_time() + limit).run()


class _Published:
    def __init__(self, sample: Sample, end: float) -> None:
        self.sample = sample
        self.rows = sample.decoder.embedding_matrix()
        self.tested: list[int] = []
        self.done = 0
        self.found: list[int] = []
        self._end = end

    def run(self) -> tuple[int, float]:
        """Prompts that came back, candidates a token."""
        exact = 0
        for states, ids in zip(self.sample.states, self.sample.prompts, strict=True):
            self.found = []
            exact += self._inverted(states) == list(ids)
            self.done += 1
        return exact, statistics.fmean(self.tested)

    def _inverted(self, states: Tensor) -> list[int]:
        for position, target in enumerate(states):
            token, steps = self._search(target, self.sample.distances[min(position, 1)])
            self.tested.append(steps)
            if token is None:
                break
            self.found.append(token)
        return self.found

    def _search(self, target: Tensor, eps: float) -> tuple[int | None, int]:
        decoder, layer, rows = self.sample.decoder, self.sample.layer, self.rows
        start, point = rows[self.found], rows.mean(dim=0)
        untried = torch.ones(len(rows), dtype=torch.bool)
        for step in range(len(rows)):
            if time.process_time() > self._end:
                raise OutOfTimeError(self.done, len(self.found), sum(self.tested) + step)
            point = point.detach().requires_grad_()
            inputs = torch.cat([start, point[None]])[None]
            state = decoder.states_from_embeddings(inputs, [layer])[layer][0, -1]
            loss = (state - target).square().sum() / 2
            (gradient,) = torch.autograd.grad(loss, point)
            gradient = gradient / max(1.0, float(gradient.norm()))
            point = (point - 0.01 ** (step / len(rows)) * gradient).detach()
            away = (rows - point).norm(dim=1).masked_fill(~untried, torch.inf)
            token = int(away.argmin())
            untried[token] = False
            ids = torch.tensor([[*self.found, token]])
            candidate = decoder.states(ids, [layer])[layer][0, -1]
            if float((candidate.double() - target.double()).norm()) <= eps:
                return token, step + 1
            if (step + 1) % 50 == 0:
                point = rows[token]
        return None, len(rows)
