"""Does contraction say what inversion costs? For ``./dev bench theory work MODELS``.

Every position but the first of some prompts is a point. Predictors: the extreme singular values of the
one-step map there, and their ratio; beside them the one-step margin, the distance of the true token's
state from its nearest rival's. What they may predict: which candidate SipIt accepts, in the order of the
lens and of the published gradient; and how often the nearest of all candidates is the true token once
the state has noise. Spearman's rank correlations, with 95 % intervals by drawing prompts.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from papers_correlations import shown
from real_tables import markdown, told
from sipit_samples import Sample
from torch import Tensor

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.inversion.sipit import recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.stats import rank_correlation
from pytest_injectivity.theory.contraction import step_scales

PREDICTORS = ("smallest / largest", "smallest", "largest", "margin")
POLICIES = ("lens", "gradient")
# Lengths of the noise over that of the states; told is that from which nearest to half recover.
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
DRAWS = 20
COLUMNS = (
    "model, layer",
    "predictor",
    *(f"candidate, {policy}" for policy in POLICIES),
    "recovered under noise",
    "noise",
    "of which recovered",
)

Prompts = Sequence[tuple[int, ...]]


def add_work(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("work", description=__doc__.partition("\n")[0])
    one.add_argument("models", nargs="+", help="folders or builtins")
    one.add_argument("--prompts", type=int, default=20)
    one.add_argument("--length", type=int, default=10, help="tokens of each")
    one.set_defaults(run=work)


def work(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown."""
    rows = [row for model in given.models for row in _rows(model, given.prompts, given.length)]
    print(markdown(f"{given.prompts} prompts of {given.length} tokens", COLUMNS, rows))


@dataclass(frozen=True)
class _Points:
    """What was measured at each position of each prompt, prompt by prompt."""

    predictors: dict[str, np.ndarray]
    outcomes: dict[str, np.ndarray]
    noise: float
    prompts: np.ndarray

    def rows(self, name: str) -> Iterator[tuple[str, ...]]:
        """A row for each predictor."""
        rate = f"{self.outcomes['noise'].mean():.0%}"
        for predictor, values in self.predictors.items():
            found = (
                shown(rank_correlation(values, outcome, self.prompts))
                for outcome in self.outcomes.values()
            )
            yield name, predictor, *found, f"{self.noise:g}", rate


def _rows(model: str, count: int, length: int) -> Iterator[tuple[str, ...]]:
    audit = Audit(AuditConfig(model=model, length=length, max_prompts=count, no_cache=True))
    prompts = [tuple(one) for one in audit.prompts.ids]
    decoder = load_decoder(model, dtype="float32", device="cpu")
    layers = sorted({1, decoder.n_layers // 2, decoder.n_layers})
    exact = decoder.as_float64()
    scales = [
        one
        for ids in prompts
        for one in step_scales(exact, torch.tensor(ids), layers, range(1, length))
    ]
    told(f"{model}: Jacobians")
    steps = [_Steps.of(decoder, ids, at, layers) for ids in prompts for at in range(1, length)]
    told(f"{model}: candidates of every position")
    for layer in layers:
        own = [one for one in scales if one.layer == layer]
        smallest = np.array([one.smallest for one in own])
        largest = np.array([one.largest for one in own])
        margins = np.array([step.margin(layer) for step in steps])
        noise, recovered = _under_noise(steps, layer)
        points = _Points(
            predictors=dict(
                zip(PREDICTORS, (smallest / largest, smallest, largest, margins), strict=True)
            ),
            outcomes={**_candidates(decoder, layer, prompts), "noise": recovered},
            noise=noise,
            prompts=np.repeat(np.arange(len(prompts)), length - 1),
        )
        unknown = sum(one.smallest < one.floor for one in own)
        told(f"{model} {layer}: {unknown} smallest values are not known")
        for row in points.rows(f"{Path(model).name}, {layer}"):
            told(" ".join(row))
            yield row


@dataclass(frozen=True)
class _Steps:
    """The states of every token at one position behind its prefix."""

    token: int
    states: dict[int, Tensor]

    @classmethod
    def of(cls, decoder: Decoder, ids: tuple[int, ...], at: int, layers: list[int]) -> "_Steps":
        """Runs every token of the vocabulary at a position."""
        prefix = decoder.prefix(torch.tensor(ids[:at]), max(layers))
        every = torch.arange(decoder.vocab_size)
        found = decoder.candidates(prefix, every, layers)
        return cls(ids[at], {layer: found[layer] for layer in layers})

    def margin(self, layer: int) -> float:
        """How far the nearest other token's state is."""
        away = (self.states[layer] - self.states[layer][self.token]).norm(dim=1)
        away[self.token] = torch.inf
        return float(away.min())

    def recovered(self, layer: int, length: float, seed: int) -> float:
        """The share of draws of noise under which the true token is nearest."""
        rows = self.states[layer]
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(DRAWS, rows.shape[1], generator=generator)
        noisy = rows[self.token] + noise * length / rows.shape[1] ** 0.5
        return float((torch.cdist(noisy, rows).argmin(dim=1) == self.token).float().mean())


def _under_noise(steps: Sequence[_Steps], layer: int) -> tuple[float, np.ndarray]:
    """The strength from which nearest to half recover, and the share at each position."""
    norm = float(torch.stack([step.states[layer][step.token] for step in steps]).norm(dim=1).mean())
    found = {
        strength: np.array(
            [step.recovered(layer, strength * norm, seed) for seed, step in enumerate(steps)]
        )
        for strength in STRENGTHS
    }
    noise = min(STRENGTHS, key=lambda one: abs(float(found[one].mean()) - 0.5))
    return noise, found[noise]


def _candidates(decoder: Decoder, layer: int, prompts: Prompts) -> dict[str, np.ndarray]:
    """The place of the accepted candidate in each policy's order, at every position but the first."""
    sample = Sample.of(decoder, layer, prompts)
    found = {}
    for policy in POLICIES:
        inverted = recover_all(
            decoder,
            sample.states,
            layer,
            eps=sample.eps,
            scales=sample.scales,
            policy=policy,
            certify=0,
        )
        exact = sum(one.exact(ids) for one, ids in zip(inverted.recoveries, prompts, strict=True))
        told(f"{layer} {policy}: {exact} of {len(prompts)}")
        outcomes = [o for one in inverted.recoveries for o in one.outcomes if o.position]
        # A position without an answer in the order has had the whole vocabulary tried.
        places = [decoder.vocab_size if o.rank is None else o.rank for o in outcomes]
        found[policy] = np.array(places, np.float64)
        told(f"{layer} {policy}: first right {np.mean(found[policy] == 0):.3f}")
    return found
