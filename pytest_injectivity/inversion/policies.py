"""Policies decide the order in which candidates are tested (SPEC section 4).

A policy names each token at most once, in pieces of any length; the search tests what it leaves out
last, in the order of the ids. So a policy decides how soon the answer is found and never, at a
certified position, what the answer is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.lens_calibration import Lenses, calibration_size
from pytest_injectivity.inversion.next_tokens import expected_tokens
from pytest_injectivity.inversion.one_step import OneStep

# Of the sequences a lens is calibrated on where nothing is known of the prompts.
_LENGTH = 64


@dataclass(frozen=True, eq=False)
class Situation:
    """What a policy may look at: one state to invert, and what is known of its prompt.

    Attributes:
        step: the one-step map of the position, with its model, layer and prefix.
        target: the state to invert.
    """

    step: OneStep
    target: Float[Tensor, " hidden"]


@runtime_checkable
class Policy(Protocol):
    """Orders the candidates of one position."""

    def order(self, at: Situation) -> Iterator[Int[Tensor, " some"]]:
        """Yields pieces of the vocabulary, most promising first, no token twice."""
        ...


@dataclass(frozen=True)
class Random:
    """Every order equally likely; the same one for the same seed and prefix.

    Attributes:
        seed: a non-negative integer.
    """

    seed: int

    def order(self, at: Situation) -> Iterator[Int[Tensor, " some"]]:
        """One permutation of the vocabulary."""
        generator = np.random.default_rng([self.seed, *at.step.prefix.ids.tolist()])
        yield torch.from_numpy(generator.permutation(at.step.decoder.vocab_size))


@dataclass(frozen=True)
class LmOrder:
    """The model's own next-token ranking: natural text is found early."""

    def order(self, at: Situation) -> Iterator[Int[Tensor, " some"]]:
        """Tokens by falling logit; before the first token the model ranks none."""
        if len(at.step.prefix):
            yield expected_tokens(at.step.decoder, [at.step.prefix.ids.tolist()])[0]


@dataclass(frozen=True)
class Gradient:
    """Gradient steps on a continuous embedding, proposing the nearest rows ([N] alg. 3, app. E).

    Embeddings are measured by the rows' root mean square distance from their mean, and the squared
    distance from the state by its first value, so that the published step, 1.0 decaying to 0.01
    along a gradient clipped to 1, means the same whatever the scales of a family are.

    Attributes:
        proposals: rows proposed after each step; 1 is the published algorithm.
        projection: after so many proposals the embedding is put on the nearest untried row.
        first_step: length of the first step.
        last_step: the step decays geometrically to this one, when the last row is proposed.
    """

    proposals: int = 16
    projection: int = 50
    first_step: float = 1.0
    last_step: float = 0.01

    def order(self, at: Situation) -> Iterator[Int[Tensor, " some"]]:
        """Steps until every row is proposed."""
        rows = at.step.decoder.embedding_matrix()
        # Half precision would round the last steps away.
        wide = rows.float() if rows.dtype.itemsize < 4 else rows  # noqa: PLR2004 - bytes
        center = wide.mean(dim=0)
        unit = float((wide - center).square().sum(dim=1).mean().sqrt())
        untried = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        point, since, scale = center, 0, 0.0
        while len(left := untried.nonzero()[:, 0]):
            share = 1 - len(left) / len(rows)
            step = unit * self.first_step * (self.last_step / self.first_step) ** share
            gradient, loss = _gradient(at, point, rows.dtype)
            # At the state itself there is nothing to divide by, and nowhere to go.
            scale = scale or max(loss, torch.finfo(torch.float32).tiny)
            point = point - step * _clipped(gradient * (unit / scale))
            away = torch.linalg.vector_norm(wide[left] - point, dim=1)
            piece = left[away.argsort()[: self.proposals]]
            untried[piece] = False
            since += len(piece)
            if since >= self.projection:
                point, since = wide[piece[0]], 0
            yield piece.cpu()


def _gradient(
    at: Situation, point: Float[Tensor, " hidden"], dtype: torch.dtype
) -> tuple[Float[Tensor, " hidden"], float]:
    """Half the squared distance from the state: its gradient by the embedding, and its value."""
    variable = point.detach().to(dtype).requires_grad_()
    with torch.enable_grad():
        found = at.step.decoder.states_from_embeddings(
            variable[None, None], [at.step.layer], prefix=at.step.prefix
        )[at.step.layer][0, 0]
        loss = (found.to(point) - at.target.to(point)).square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, variable)
    return gradient.to(point), float(loss.detach())


def _clipped(gradient: Float[Tensor, " hidden"]) -> Float[Tensor, " hidden"]:
    return gradient.nan_to_num(0.0) / max(1.0, float(gradient.norm()))


class ByLens:
    """The order of a lens, calibrated the first time a model's layer is asked for.

    Given to :class:`SipIt` it also guesses whole prompts (`speculation`). Where candidates of one
    position are ordered, the likeliest token comes first; its state shows what the context adds,
    and the rest are ranked by that.

    Args:
        seed: of the calibration.

    Attributes:
        lenses: those calibrated so far.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.lenses = Lenses()

    def __repr__(self) -> str:
        return f"ByLens(seed={self.seed})"

    def order(self, at: Situation) -> Iterator[Int[Tensor, " some"]]:
        """The whole vocabulary."""
        decoder, position = at.step.decoder, len(at.step.prefix)
        length = min(_LENGTH, decoder.context or _LENGTH)
        # As for one prompt of that length, whatever the position: one lens serves all of them.
        tokens = calibration_size(decoder.vocab_size, decoder.hidden_size, length)
        lens = self.lenses.calibrated(
            decoder, at.step.layer, tokens=tokens, length=length, seed=self.seed
        )
        target = at.target[None]
        place = torch.tensor([position], device=target.device)
        (first,) = lens.rank(lens.uncorrected(target, place), 1)
        yield first
        queries = lens.corrected(target, at.step(first), first)
        (ranked,) = lens.rank(queries, decoder.vocab_size)
        yield ranked[ranked != first]


_REGISTRY: dict[str, Callable[[int], Policy]] = {
    "random": Random,
    "gradient": lambda _seed: Gradient(),
    "lm-order": lambda _seed: LmOrder(),
    "lens": ByLens,
}
POLICIES = tuple(_REGISTRY)


def make_policy(name: str, seed: int) -> Policy:
    """The policy of that name.

    Args:
        name: one of ``POLICIES``.
        seed: decides a random order; a non-negative integer.

    Raises:
        OptionError: there is none of that name.
    """
    if name not in _REGISTRY:
        raise OptionError(f"policy {name!r} is not known: give one of {', '.join(POLICIES)}")
    return _REGISTRY[name](seed)
