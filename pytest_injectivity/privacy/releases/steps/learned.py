"""``learned(sigma, seed)``: noise that a small network makes of each row.

The network says of a row how far each coordinate is shifted and how loud its Gaussian noise is. Both
together have the root mean square ``sigma`` in every row, as ``gaussian`` has. It is trained on rows of
texts that the model writes: nearest neighbors among plain rows shall not find a row again, and next
tokens shall change little (`row_use`). That is how learned noise is published: it shifts each row where
the nearest one is another's. Everybody has the network, and nobody the draw.

Source: a learned mean and variance of a row's noise, "Stained Glass Transforms" (arXiv 2506.09452);
learned noise of which nearest neighbors read little and trained inverters nearly all: arXiv 2603.01499.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.config.release_steps import Amount
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.privacy.releases.base import BaseRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step
from pytest_injectivity.privacy.releases.row_use import RowUse

_HIDDEN, _STEPS, _RATE = 64, 150, 1e-2
# Rows of one step of training, which are each other's neighbors.
_TOGETHER = 128
# No row can be less likely than one in so many, in nats: beyond that nothing is gained.
_LOST = -6.0
# Standardized coordinates beyond this are outliers, such as attention sinks have.
_FARTHEST = 4.0


@dataclass(frozen=True, eq=False)
class NoiseNetwork:
    """Makes a shift and a loudness of each coordinate of a row, in float64.

    Attributes:
        center: the mean of the rows that it was trained on.
        scale: their standard deviation.
        weights: of the hidden layer, its biases, and those of the shifts and loudnesses.
    """

    center: Float64[Tensor, " width"]
    scale: Float64[Tensor, " width"]
    weights: tuple[Tensor, ...]

    @classmethod
    def drawn(cls, rows: Float[Tensor, "rows width"], draw: torch.Generator) -> "NoiseNetwork":
        """A network before its training."""
        exact = rows.double()
        width = exact.shape[1]
        scale = exact.std(dim=0, correction=0)
        sizes = (width, _HIDDEN), (_HIDDEN,), (_HIDDEN, 2 * width), (2 * width,)
        weights = tuple(
            torch.randn(size, generator=draw, dtype=torch.float64) / size[0] ** 0.5
            for size in sizes
        )
        return cls(exact.mean(dim=0), torch.where(scale > 0, scale, torch.inf), weights)

    def __call__(
        self, rows: Float64[Tensor, "rows width"]
    ) -> tuple[Float64[Tensor, "rows width"], Float64[Tensor, "rows width"]]:
        """The shift and the loudness of each coordinate; their root mean square in a row is 1."""
        into, bias, out, further = self.weights
        standard = ((rows - self.center) / self.scale).clamp(-_FARTHEST, _FARTHEST)
        shift, loud = (torch.tanh(standard @ into + bias) @ out + further).chunk(2, dim=1)
        # Softplus keeps noise in every coordinate: without any there is a formula to undo.
        loud = torch.nn.functional.softplus(loud)
        size = (shift.square() + loud.square()).mean(dim=1, keepdim=True).sqrt()
        return shift / size, loud / size


@dataclass(frozen=True, eq=False)
class LearnedRelease(BaseRelease):
    """Adds what a network makes of each row.

    Attributes:
        network: the network.
        sigma: root mean square of what is added to a coordinate.
        typical_noise: what an attacker knows of the noise without learning: that of a mean row.
    """

    network: NoiseNetwork
    sigma: float
    typical_noise: Noise

    @property
    def noise(self) -> Noise:
        """Of each coordinate the noise of a row on average; examples tell more."""
        return self.typical_noise

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows shifted, with noise as loud as the network says."""
        exact = rows.cpu().double()
        shift, loud = self.network(exact)
        drawn = torch.from_numpy(draw.standard_normal(tuple(rows.shape)))
        return (exact + self.sigma * (shift + loud * drawn)).to(rows.dtype).to(rows.device)

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The candidates shifted."""
        exact = candidates.cpu().double()
        shift, _ = self.network(exact)
        return (exact + self.sigma * shift).to(candidates.dtype).to(candidates.device)


@release_step("learned", of_states=True)
def bind_learned(step: StepSpec, rows: RowScale) -> Release:
    """Trains the network.

    Raises:
        OptionError: the sigma does not fit the rows.
    """
    sigma, seed = rows.sigma(step.value("sigma", Amount)), step.value("seed", int)
    use = rows.known_use(seed)
    # Short operations, which a second thread makes slower.
    with torch.enable_grad(), on_threads(1):
        network = _trained(use, sigma, seed)
    _, loud = network(use.rows.double())
    typical = sigma * loud.square().mean(dim=0).sqrt()
    noise = Noise(typical, torch.zeros(0, rows.width, dtype=torch.float64))
    return LearnedRelease(rows.width, network, sigma, noise)


def _trained(use: RowUse, sigma: float, seed: int) -> NoiseNetwork:
    draw = torch.Generator().manual_seed(seed)
    every = use.rows.double()
    network = NoiseNetwork.drawn(every, draw)
    weights = [one.requires_grad_() for one in network.weights]
    optimizer = torch.optim.Adam(weights, lr=_RATE)
    # As much as isotropic noise of the same size costs is 1.
    cost = use.sensitivity / use.sensitivity.trace().clamp(min=torch.finfo(torch.float64).tiny)
    for _ in range(_STEPS):
        some = every[torch.randperm(len(every), generator=draw)[:_TOGETHER]]
        shift, loud = network(some)
        added = shift + loud * torch.randn(some.shape, generator=draw, dtype=torch.float64)
        away = torch.cdist(some + sigma * added, some).square() / (2 * sigma**2)
        found = (-away).log_softmax(dim=1).diagonal().clamp(min=_LOST).mean()
        spent = ((added @ cost) * added).sum(dim=1).mean()
        optimizer.zero_grad()
        (found + spent).backward()  # type: ignore[no-untyped-call] # torch has no types for it
        optimizer.step()
    return replace(network, weights=tuple(one.detach() for one in weights))
