"""SipIt as published, for ``./dev bench sipit``."""

import statistics

import torch
from sipit_samples import Sample
from torch import Tensor


def published(sample: Sample) -> tuple[int, float]:
    """[N] alg. 1 and 3 with the settings of app. E: prompts that came back, candidates a token.

    At each position a continuous embedding is moved by the clipped gradient of the squared distance,
    its step decaying from 1.0 to 0.01; each step proposes the nearest row not tried yet, which is put on
    the embedding's place every 50 steps. One candidate a step; no state is kept between passes.
    """
    rows, tested = sample.decoder.embedding_matrix(), []
    exact = sum(
        _published(sample, rows, states, tested) == list(ids)
        for states, ids in zip(sample.states, sample.prompts, strict=True)
    )
    return exact, statistics.fmean(tested)


def _published(sample: Sample, rows: Tensor, states: Tensor, tested: list[int]) -> list[int]:
    found: list[int] = []
    for position, target in enumerate(states):
        eps = sample.eps[min(position, 1)]
        token, steps = _search(sample, rows, found, target, eps)
        tested.append(steps)
        if token is None:
            break
        found.append(token)
    return found


def _search(
    sample: Sample, rows: Tensor, before: list[int], target: Tensor, eps: float
) -> tuple[int | None, int]:
    decoder, layer = sample.decoder, sample.layer
    start, point = rows[before], rows.mean(dim=0)
    untried = torch.ones(len(rows), dtype=torch.bool)
    for step in range(len(rows)):
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
        candidate = decoder.states(torch.tensor([[*before, token]]), [layer])[layer][0, -1]
        if float((candidate.double() - target.double()).norm()) <= eps:
            return token, step + 1
        if (step + 1) % 50 == 0:
            point = rows[token]
    return None, len(rows)
