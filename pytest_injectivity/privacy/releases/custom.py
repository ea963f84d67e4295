"""A custom release: the user's own functions on ``(positions, width)`` rows.

An attacker knows the functions. Where no ``image`` is given, the image is ``apply`` itself or, of a
function that draws, the mean of a few draws, and the law of its noise is estimated from draws as well.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.config.release_spec import parse_place
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.core.text import one_line
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release, Secret, draws

# Draws of one row that the image and the noise of a random release are estimated from.
_DRAWS = 8
# Rows that the noise is estimated from, where the prompts have so many.
_ROWS = 512


@dataclass(frozen=True, eq=False)
class CustomRelease:
    """A release given by functions; each gets rows and, where it takes two arguments, the draw.

    >>> rounded = CustomRelease("rounded", "4 last", apply=lambda rows: rows.round())
    >>> print(rounded, rounded.at.layer)
    rounded@4 last 4

    >>> def noisy(rows, draw):
    ...     return rows + torch.from_numpy(draw.normal(size=rows.shape)).to(rows)
    >>> print(CustomRelease("noisy", "8 kv", apply=noisy))
    noisy@8 kv

    Attributes:
        name: the name in reports.
        place: what is observed, as in the text of a release: ``8``, ``8 last``, ``8 kv``.
        apply: the sender's side; everything random comes from the ``numpy.random.Generator`` given.
        undo: the receiver's side, given the sender's draw; None: rows are used as they come.
        image: what an attacker computes of a candidate's row; None: ``apply`` itself or, of a random
            release, the mean of a few draws, at as many times the cost.
        ordered: False where positions are shuffled; ``image`` must then treat each row by itself.
        secret: ``Secret.ROTATION`` where the rows are multiplied by a secret orthogonal matrix.

    Raises:
        OptionError: the place does not follow the grammar.
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

    def __post_init__(self) -> None:
        _ = self.at  # a place that does not follow the grammar is refused here

    @cached_property
    def at(self) -> Place:
        """What is observed, parsed."""
        return parse_place(self.place)

    def bind(self, observed: Observed, seed: int) -> Release:
        """The release of these rows, with the law of its noise estimated from them."""
        return _BoundCustomRelease(
            self, observed.width, _estimated_noise(self, observed, seed), seed
        )


@dataclass(frozen=True, eq=False)
class _BoundCustomRelease:
    """A custom release as a `Release`."""

    custom: CustomRelease
    width: int
    estimated: Noise | None
    seed: int

    @property
    def noise(self) -> Noise:
        return self.estimated or Noise.none(self.width)

    @property
    def ordered(self) -> bool:
        return self.custom.ordered

    @property
    def secret(self) -> Secret:
        return self.custom.secret

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Any:  # `check_release` says what is accepted
        return _called(self.custom.apply, rows, draw)

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Any:  # `check_release` says what is accepted
        return released if self.custom.undo is None else _called(self.custom.undo, released, draw)

    def image(
        self, candidates: Float[Tensor, "rows width"]
    ) -> Any:  # `check_release` says what is accepted
        if self.custom.image is not None:
            return _called(self.custom.image, candidates, None)
        if not self.custom.ordered or self.custom.secret is not Secret.NOTHING:
            return candidates.clone()
        times = 1 if self.estimated is None else _DRAWS
        # The attacker's own draws: the sender's are secret.
        attackers = np.random.default_rng([self.seed, times]).spawn(times)
        return torch.stack([_called(self.custom.apply, candidates, one) for one in attackers]).mean(
            dim=0
        )


def _called(function: Callable[..., Any], rows: Tensor, draw: np.random.Generator | None) -> Any:
    """What a function returns, in the dtype of its rows; arrays become tensors."""
    found = function(rows, draw) if _takes_draw(function) else function(rows)
    if isinstance(found, np.ndarray):
        found = torch.from_numpy(found)
    return found.to(rows) if isinstance(found, Tensor) and found.is_floating_point() else found


def _takes_draw(function: Callable[..., Any]) -> bool:
    try:
        return len(inspect.signature(function).parameters) > 1
    except ValueError:  # some built-in functions have no signature
        return False


def _estimated_noise(custom: CustomRelease, observed: Observed, seed: int) -> Noise | None:
    """The noise with the covariance of what draws add; None where draws add nothing."""
    if not custom.ordered:
        return None
    residuals: list[Tensor] = []
    for rows, ids in zip(observed.rows, observed.prompts, strict=True):
        drawn = [
            _called(custom.apply, rows.clone(), one) for one in draws(seed + 1, ids).spawn(_DRAWS)
        ]
        if any(not isinstance(one, Tensor) or one.shape != rows.shape for one in drawn):
            return None  # `check_release` refuses it with its name
        found = torch.stack(drawn).cpu().double()
        residuals.append((found - found.mean(dim=0)).flatten(0, 1))
        if sum(map(len, residuals)) >= _ROWS * _DRAWS:
            break
    spread = torch.cat(residuals)
    if not bool(spread.any()) or not bool(spread.isfinite().all()):
        return None
    # Subtracting the mean of the draws takes one of their degrees of freedom.
    freedom = len(spread) * (_DRAWS - 1) / _DRAWS
    if freedom < 10 * observed.width:
        sigma = (spread.square().sum(dim=0) / freedom).sqrt()
        return Noise(sigma, torch.zeros(0, observed.width, dtype=torch.float64))
    values, vectors = torch.linalg.eigh(spread.T @ spread / freedom)
    factor = (vectors * values.clamp_min(0.0).sqrt()).T.contiguous()
    return Noise(torch.zeros(observed.width, dtype=torch.float64), factor)
