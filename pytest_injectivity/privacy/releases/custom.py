"""A release of one's own: functions on ``(positions, width)`` rows, as an attacker would know them."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import Place, parse
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.core.text import one_line
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Noise, Release, Secret, draws

# Draws that a random release is known by: their mean is its image, their spread its noise.
_LEARNT_FROM = 8
_ROWS = 512


@dataclass(frozen=True, eq=False)
class CustomRelease:
    """A release by its functions; each gets rows and, where it takes two arguments, the draw.

    ::

        CustomRelease("mine", "4", apply=lambda rows: rows.round(), undo=None)
        CustomRelease("mine", "4", apply=lambda rows, draw: rows + torch.from_numpy(draw.normal(...)))

    Attributes:
        name: what reports call it.
        place: what is observed, as in the text of a release: ``8``, ``8 last``, ``8 kv``.
        apply: the sender's side; everything random from the ``numpy.random.Generator`` it is given.
        undo: the receiver's, whose draw is the sender's; None: it takes what it gets.
        image: what an attacker computes of a candidate's row; None: ``apply`` itself or, of a random
            release, the mean of a few draws, which costs as many times the passes.
        ordered: False where positions are shuffled; then give an ``image`` of rows by themselves.
        secret: ``Secret.ROTATION`` where the rows are turned by a secret matrix besides.
    """

    name: str
    place: str
    apply: Callable[..., Tensor]
    undo: Callable[..., Tensor] | None = None
    image: Callable[[Tensor], Tensor] | None = None
    ordered: bool = True
    secret: Secret = Secret.NOTHING

    def __str__(self) -> str:
        return f"{one_line(self.name)}@{self.at}"

    @cached_property
    def at(self) -> Place:
        """What is observed.

        Raises:
            OptionError: the place is not of the grammar.
        """
        return parse(f"identity@{self.place}").place

    def bind(self, observed: Observed, seed: int) -> Release:
        """The release of these rows, and what can be learnt of its noise from them."""
        return _BoundCustomRelease(self, observed.width, _learnt(self, observed, seed), seed)


@dataclass(frozen=True, eq=False)
class _BoundCustomRelease:
    """One's own functions as a `Release`."""

    own: CustomRelease
    width: int
    learnt: Noise | None
    seed: int

    @property
    def noise(self) -> Noise:
        return self.learnt or Noise.none(self.width)

    @property
    def ordered(self) -> bool:
        return self.own.ordered

    @property
    def secret(self) -> Secret:
        return self.own.secret

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Any:  # what it is, `check_release` says
        return _called(self.own.apply, rows, draw)

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Any:  # what it is, `check_release` says
        return released if self.own.undo is None else _called(self.own.undo, released, draw)

    def image(
        self, candidates: Float[Tensor, "rows width"]
    ) -> Any:  # what it is, `check_release` says
        if self.own.image is not None:
            return _called(self.own.image, candidates, None)
        if not self.own.ordered or self.own.secret is not Secret.NOTHING:
            return candidates.clone()
        times = 1 if self.learnt is None else _LEARNT_FROM
        # The attacker's draws, not the sender's.
        own = np.random.default_rng([self.seed, times]).spawn(times)
        return torch.stack([_called(self.own.apply, candidates, one) for one in own]).mean(dim=0)


def _called(function: Callable[..., Any], rows: Tensor, draw: np.random.Generator | None) -> Any:
    """What a function gives, in the dtype of its rows; arrays are taken for tensors."""
    found = function(rows, draw) if _takes_draw(function) else function(rows)
    if isinstance(found, np.ndarray):
        found = torch.from_numpy(found)
    return found.to(rows) if isinstance(found, Tensor) and found.is_floating_point() else found


def _takes_draw(function: Callable[..., Any]) -> bool:
    try:
        return len(inspect.signature(function).parameters) > 1
    except ValueError:  # some built-in functions have no signature
        return False


def _learnt(own: CustomRelease, observed: Observed, seed: int) -> Noise | None:
    """The covariance of what the draws add, where they add anything; None where nothing is drawn."""
    if not own.ordered:
        return None
    residuals: list[Tensor] = []
    for rows, ids in zip(observed.rows, observed.prompts, strict=True):
        drawn = [
            _called(own.apply, rows.clone(), one)
            for one in draws(seed + 1, ids).spawn(_LEARNT_FROM)
        ]
        if any(not isinstance(one, Tensor) or one.shape != rows.shape for one in drawn):
            return None  # refused by name, in a moment
        found = torch.stack(drawn).cpu().double()
        residuals.append((found - found.mean(dim=0)).flatten(0, 1))
        if sum(map(len, residuals)) >= _ROWS * _LEARNT_FROM:
            break
    spread = torch.cat(residuals)
    if not bool(spread.any()) or not bool(spread.isfinite().all()):
        return None
    # Each mean took one of the draws' degrees of freedom.
    freedom = len(spread) * (_LEARNT_FROM - 1) / _LEARNT_FROM
    if freedom < 10 * observed.width:
        sigma = (spread.square().sum(dim=0) / freedom).sqrt()
        return Noise(sigma, torch.zeros(0, observed.width, dtype=torch.float64))
    values, vectors = torch.linalg.eigh(spread.T @ spread / freedom)
    factor = (vectors * values.clamp_min(0.0).sqrt()).T.contiguous()
    return Noise(torch.zeros(observed.width, dtype=torch.float64), factor)
