"""What an attacker is: given released rows and the weights, it names tokens, one position at a time.

An attacker knows the model, the release (its image and the law of its noise, not its draw), what
place it is of and how many tokens a prompt has. At each position it is shown the prefix and answers
with a token or with none. Whether that prefix is the truth (teacher-forced) or made of its own
answers (free-running) is not its business: whoever walks it along decides.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import Place
from pytest_injectivity.core.shapes import Bool, Float, Int64
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.protocol import Noise, Release, Secret
from pytest_injectivity.privacy.search.candidates import Candidates, Nearest, Scan
from pytest_injectivity.privacy.search.mahalanobis import Metric
from pytest_injectivity.privacy.search.one_step_tables import Table

NO_TOKEN = -1
"""An answer that names none."""

# The share of noise draws that a ball may leave out.
_LEFT_OUT = 1e-3


@dataclass(frozen=True, eq=False)
class Channel:
    """A release at a place, as an attacker has it.

    Attributes:
        name: of the release.
        release: its image and the law of its noise are known.
        place: what of the model is released.
        nu: how far two evaluations of one candidate may lie apart at positions 0, 1, …, in the rows'
            units; the last serves all after it.
        released: of each prompt the rows, in the order they were sent.
        lengths: tokens of each prompt.
        sides: the widths a row is made of: two for keys and values together.
    """

    name: str
    release: Release
    place: Place
    nu: tuple[float, ...]
    released: tuple[Float[Tensor, "_positions width"], ...]
    lengths: tuple[int, ...]
    sides: tuple[int, ...]

    def floor(self, position: int) -> float:
        """``nu`` at a position."""
        return self.nu[min(position, len(self.nu) - 1)]

    @cached_property
    def noise(self) -> Noise:
        """The law of the noise."""
        return self.release.noise

    @cached_property
    def _metrics(self) -> tuple[Metric, ...]:
        return tuple(Metric.of(self.noise, nu) for nu in self.nu)

    def metric(self, position: int) -> Metric:
        """Mahalanobis' under the release's noise and ``nu^2 I``."""
        return self._metrics[min(position, len(self.nu) - 1)]

    def reach(self, position: int) -> float:
        """How far a released row may lie from the image of its own token: the radius of a ball.

        Two evaluations, each off by ``nu``, and all but a thousandth of the noise: for a Gaussian of
        covariance S, ``|x|^2 <= tr S + 2 sqrt(tr(S^2) t) + 2 ||S|| t`` but for a share of ``exp(-t)``
        (Hsu, Kakade and Zhang, "A tail inequality for quadratic forms of subgaussian random
        vectors", 2012).
        """
        return 2 * self.floor(position) + self._loudness

    @cached_property
    def _loudness(self) -> float:
        if self.noise.is_none:
            return 0.0
        spectrum = torch.linalg.eigvalsh(self.noise.covariance()).clamp(min=0.0)
        t = -math.log(_LEFT_OUT)
        root = 2 * math.sqrt(float(spectrum.square().sum()) * t)
        return math.sqrt(float(spectrum.sum()) + root + 2 * float(spectrum.max()) * t)

    def positions(self, prompt: int) -> tuple[int, ...]:
        """Where the rows of a prompt stand, if they are in order."""
        return self.place.positions(self.lengths[prompt])

    def at(self, prompts: Sequence[int], position: int) -> Float[Tensor, "prompts width"]:
        """The rows of one position."""
        return torch.stack(
            [self.released[one][self.positions(one).index(position)] for one in prompts]
        )


class View:
    """A channel after one prefix: the candidates' images there, computed once for all attackers.

    Args:
        table: the one-step maps of the prefix.
        channel: the release.
    """

    def __init__(self, table: Table, channel: Channel) -> None:
        self.table = table
        self.channel = channel
        self._scans: dict[tuple[bool, tuple[int, ...]], Scan] = {}
        self._found: dict[tuple[bool, tuple[int, ...]], Nearest] = {}

    @property
    def position(self) -> int:
        """The position looked at."""
        return self.table.position

    @cached_property
    def images(self) -> Float[Tensor, "vocab width"]:
        """What the release makes of every token's row, where the released rows are."""
        images = self.channel.release.image(self.table.rows(self.channel.place))
        return images.to(self.channel.released[0].device)

    @cached_property
    def candidates(self) -> Candidates:
        """The images, by Euclidean distance.

        Raises:
            ModelError: no image is finite.
        """
        place = self.channel.place
        rows = self.table.rows(place)
        plain = rows.device == self.images.device and torch.equal(self.images[:1], rows[:1])
        plain = plain and torch.equal(self.images, rows)
        found = self.table.plain(place) if plain else Candidates(self.images)
        if not len(found):
            raise ModelError(
                f"{self.table.decoder.source}: no token has a finite image at {self.channel.place.name}"
                f" under {self.channel.name}: audit the model first (assert_no_collisions)"
            )
        return found

    @cached_property
    def weighed(self) -> Candidates:
        """The images, by Mahalanobis' distance under the release's noise."""
        metric = self.channel.metric(self.position)
        return self.candidates if metric.is_euclidean else Candidates(self.candidates.rows, metric)

    def scan(self, prompts: Sequence[int], *, weighed: bool = False) -> Scan:
        """Each prompt's row at this position held against all images.

        Args:
            prompts: whose rows.
            weighed: by Mahalanobis' distance, where it is another one.
        """
        weighed = weighed and not self.channel.metric(self.position).is_euclidean
        key = (weighed, tuple(prompts))
        if key not in self._scans:
            candidates = self.weighed if weighed else self.candidates
            self._scans[key] = candidates.scan(self.channel.at(prompts, self.position))
        return self._scans[key]

    def nearest(self, prompts: Sequence[int], *, weighed: bool = False) -> Nearest:
        """The two nearest images of each prompt's row at this position (see `scan`)."""
        weighed = weighed and not self.channel.metric(self.position).is_euclidean
        key = (weighed, tuple(prompts))
        if key not in self._found:
            self._found[key] = self.scan(prompts, weighed=weighed).nearest(2)
        return self._found[key]


@dataclass(frozen=True, eq=False)
class Guess:
    """Answers at one position.

    Attributes:
        tokens: one a prompt, `NO_TOKEN` where there is none.
        verified: which of them the attacker vouches for: near enough, and no other is.
    """

    tokens: Int64[Tensor, " prompts"]
    verified: Bool[Tensor, " prompts"]

    @classmethod
    def unverified(cls, tokens: Int64[Tensor, " prompts"]) -> "Guess":
        """Answers that nothing vouches for."""
        return cls(tokens, torch.zeros_like(tokens, dtype=torch.bool))


@dataclass(frozen=True, eq=False)
class Setting:
    """How an attack begins.

    Attributes:
        decoder: the attacker's own model.
        channel: what it has.
        told: it is shown the true tokens before each position (teacher-forced), not its own answers.
        seed: of whatever it draws.
    """

    decoder: Decoder
    channel: Channel
    told: bool
    seed: int


@runtime_checkable
class Attempt(Protocol):
    """One attacker on one channel, from the first position to the last.

    Attributes:
        compares: it asks for images of the whole vocabulary at every position.
    """

    compares: bool

    def look(self, view: View, prompts: Sequence[int]) -> Guess:
        """Names the tokens at the view's position of prompts that share its prefix."""
        ...

    def follow(self, view: View, prompts: Sequence[int], tokens: Sequence[int]) -> None:
        """Is shown which tokens the prompts go on with: the true ones, or those it named."""
        ...

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:
        """The tokens of a whole prompt, once its last position was looked at."""
        ...


@runtime_checkable
class Attacker(Protocol):
    """A published way to read prompts from released rows.

    Attributes:
        name: as reports call it.
        source: where it was published.
        told: run along the true prefix (teacher-forced).
        free: run on its own answers.
    """

    name: str
    source: str
    told: bool
    free: bool

    def fits(self, channel: Channel) -> bool:
        """Whether it is made for such a release and place."""
        ...

    def attempt(self, setting: Setting) -> Attempt:
        """Begins an attack."""
        ...


class Answering:
    """An attempt whose answers stay as they were given."""

    compares = True

    def follow(self, view: View, prompts: Sequence[int], tokens: Sequence[int]) -> None:
        """Nothing is learned of it."""

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:  # noqa: ARG002 - the protocol's
        """As they were answered."""
        return tokens


class ByPosition(Answering, ABC):
    """An attacker that answers each position for itself, and keeps nothing."""

    told = True
    free = False

    @abstractmethod
    def look(self, view: View, prompts: Sequence[int]) -> Guess:
        """See `Attempt`."""

    def attempt(self, setting: Setting) -> Attempt:  # noqa: ARG002 - the protocol's
        """Itself."""
        return self


def in_the_open(channel: Channel) -> bool:
    """Whether every position is released, in its place, with nothing hidden but noise."""
    return channel.place.everywhere and channel.release.ordered and not hides(channel)


def hides(channel: Channel) -> bool:
    """Whether the release turns its rows by a rotation nobody was told."""
    return channel.release.secret is not Secret.NOTHING
