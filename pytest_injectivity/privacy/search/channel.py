"""What an attacker has of a release: the released rows, the release, and the images of all tokens.

A `Channel` is a release at a place together with what was released of each prompt. A `ChannelView` is a
channel after one prefix. It computes the image of every token at the next position once, for all
attackers that look there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.shapes import Float, Float32, Int64
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.examples import NO_EXAMPLES, Examples
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.observed import observe_place
from pytest_injectivity.privacy.releases.protocol import Release, Secret
from pytest_injectivity.privacy.search.candidates import Candidates, Nearest, Scan
from pytest_injectivity.privacy.search.learned_lens import LearnedLens
from pytest_injectivity.privacy.search.mahalanobis import MahalanobisMetric
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable

# The share of noise draws that may fall outside the ball of `Channel.reach`.
_LEFT_OUT = 1e-3


@dataclass(frozen=True, eq=False)
class Channel:
    """A release at a place, as an attacker has it.

    Attributes:
        name: name of the release, for messages.
        release: the attacker uses its image and the law of its noise, never the secret draw.
        place: what is observed of the model.
        nu: how far two evaluations of one candidate may lie apart at positions 0, 1, …, in the units of
            the rows; the last number holds for all later positions.
        released: the rows of each prompt, in the order they were sent.
        lengths: number of tokens of each prompt.
        sides: the widths that make up a row: two for keys and values together, else one.
        practice: what the attacker released of prompts of its own; nothing where a secret is shared.
        known: what the sender released of prompts that the attacker knows.
        averaged: the means of several releases of each prompt; None where each was released once.
    """

    name: str
    release: Release
    place: Place
    nu: tuple[float, ...]
    released: tuple[Float[Tensor, "_positions width"], ...]
    lengths: tuple[int, ...]
    sides: tuple[int, ...]
    practice: Examples = NO_EXAMPLES
    known: Examples = NO_EXAMPLES
    averaged: "Channel | None" = None
    _kept: dict[str, LearnedLens] = field(default_factory=dict, init=False, repr=False)

    @property
    def hides_matrix(self) -> bool:
        """Whether released rows are images times a secret matrix."""
        return self.release.secret is not Secret.NOTHING

    @property
    def shows_rotated_rows(self) -> bool:
        """Whether every position is released in order, times one secret orthogonal matrix."""
        turned = self.release.secret in {Secret.ROTATION, Secret.PERMUTATION}
        return turned and self.place.everywhere and self.release.ordered

    @property
    def shows_rows_in_order(self) -> bool:
        """Whether every position is released, in order, and hidden by nothing but noise."""
        return self.place.everywhere and self.release.ordered and not self.hides_matrix

    @property
    def learns_rows_in_order(self) -> bool:
        """Whether every position is released, in order, and there are examples of it."""
        return self.place.everywhere and self.release.ordered and len(self.examples) > 0

    @cached_property
    def examples(self) -> Examples:
        """All that an attacker can learn from."""
        both = self.practice, self.known
        return Examples(
            tuple(ids for one in both for ids in one.prompts),
            tuple(rows for one in both for rows in one.rows),
        )

    def learned(self, decoder: Decoder) -> LearnedLens:
        """The lens that is learned from the examples, once for all who ask.

        Args:
            decoder: the attackers' model, the same at every call.
        """
        if "learned" not in self._kept:
            self._kept["learned"] = LearnedLens.of(decoder, self.examples)
        return self._kept["learned"]

    @cached_property
    def noise(self) -> Noise:
        """The law of the release's noise."""
        return self.release.noise

    @cached_property
    def _metrics(self) -> tuple[MahalanobisMetric, ...]:
        return tuple(MahalanobisMetric.of(self.noise, nu) for nu in self.nu)

    def metric(self, position: int) -> MahalanobisMetric:
        """The Mahalanobis metric of the noise's covariance plus ``nu^2 I`` at a position."""
        return self._metrics[min(position, len(self.nu) - 1)]

    def floor(self, position: int) -> float:
        """``nu`` at a position."""
        return self.nu[min(position, len(self.nu) - 1)]

    def reach(self, position: int) -> float:
        """The radius of the ball around a released row in which the image of its own token lies.

        The radius is ``2 nu`` for two evaluations, plus the length that all but a thousandth of the
        noise draws stay below. For a Gaussian of covariance S,
        ``|x|^2 <= tr S + 2 sqrt(tr(S^2) t) + 2 ||S|| t`` but for a share of ``exp(-t)`` (Hsu, Kakade
        and Zhang, "A tail inequality for quadratic forms of subgaussian random vectors", 2012).
        """
        return 2 * self.floor(position) + self._noise_length

    def reach_weighed(self, position: int) -> float:
        """As `reach`, in the metric of the noise."""
        if self.metric(position).is_euclidean:
            return self.reach(position)
        width, t = len(self.noise.sigma), -math.log(_LEFT_OUT)
        # A distance of nu has at most the length 1 there.
        return 2 + math.sqrt(width + 2 * math.sqrt(width * t) + 2 * t)

    @cached_property
    def _noise_length(self) -> float:
        if self.noise.is_none:
            return 0.0
        spectrum = torch.linalg.eigvalsh(self.noise.covariance()).clamp(min=0.0)
        t = -math.log(_LEFT_OUT)
        root = 2 * math.sqrt(float(spectrum.square().sum()) * t)
        return math.sqrt(float(spectrum.sum()) + root + 2 * float(spectrum.max()) * t)

    @cached_property
    def every_row(
        self,
    ) -> tuple[Float[Tensor, "rows width"], Int64[Tensor, " rows"]]:
        """The rows of all prompts; and, on the CPU, the number of each among those of its prompt."""
        numbers = [torch.arange(len(one)) for one in self.released]
        return torch.cat(self.released), torch.cat(numbers)

    def positions(self, prompt: int) -> tuple[int, ...]:
        """The positions of a prompt's rows, where the rows are in order."""
        return self.place.positions(self.lengths[prompt])

    def at(self, prompts: Sequence[int], position: int) -> Float[Tensor, "prompts width"]:
        """The released rows of some prompts at one position."""
        return torch.stack(
            [self.released[one][self.positions(one).index(position)] for one in prompts]
        )


class ChannelView:
    """A channel after one prefix, with the images of a table's tokens at the next position.

    Args:
        table: the one-step maps of the prefix.
        channel: the release.
    """

    def __init__(self, table: OneStepTable, channel: Channel) -> None:
        self.table = table
        self.channel = channel
        self._scans: dict[tuple[bool, tuple[int, ...]], Scan] = {}
        self._found: dict[tuple[bool, tuple[int, ...]], Nearest] = {}

    @property
    def position(self) -> int:
        """The position that the view is of."""
        return self.table.position

    @cached_property
    def whole(self) -> "ChannelView":
        """The view of the whole vocabulary."""
        return self if self.table.tokens is None else ChannelView(self.table.whole, self.channel)

    @cached_property
    def surprise(self) -> Float32[Tensor, " tokens"]:
        """The model's surprise at each token of the table."""
        surprise = self.table.surprise
        tokens = self.table.tokens
        return surprise if tokens is None else surprise[tokens.to(surprise.device)]

    @cached_property
    def images(self) -> Float[Tensor, "tokens width"]:
        """What the release makes of each token's row, on the device of the released rows."""
        images = self.channel.release.image(self.table.rows(self.channel.place))
        return images.to(self.channel.released[0].device)

    @cached_property
    def before(self) -> Float[Tensor, "position width"]:
        """What the release makes of the rows of the tokens before, where all positions are observed."""
        ids = self.table.prefix.ids.tolist()
        if not ids:
            return self.images[:0]
        rows = observe_place(self.table.decoder, self.channel.place, [ids]).rows[0]
        return self.channel.release.image(rows).to(self.channel.released[0].device)

    @cached_property
    def candidates(self) -> Candidates:
        """The images, searched by Euclidean distance.

        Raises:
            ModelError: no image is finite.
        """
        place = self.channel.place
        rows = self.table.rows(place)
        # The table keeps one search structure for every release whose image is the row itself.
        plain = rows.device == self.images.device and torch.equal(self.images[:1], rows[:1])
        plain = plain and torch.equal(self.images, rows)
        found = self.table.plain(place) if plain else self.table.candidates(self.images)
        if not len(found):
            raise ModelError(
                f"{self.table.decoder.source}: no token has a finite image at {self.channel.place.name}"
                f" under {self.channel.name}: audit the model first (assert_no_collisions)"
            )
        return found

    @cached_property
    def weighed(self) -> Candidates:
        """The images, searched by Mahalanobis distance under the release's noise."""
        metric = self.channel.metric(self.position)
        if metric.is_euclidean:
            return self.candidates
        return self.table.candidates(self.candidates.rows, metric)

    def scan(self, prompts: Sequence[int], *, weighed: bool = False) -> Scan:
        """Compares the row of each prompt at this position with all images.

        Args:
            prompts: the prompts whose rows are compared.
            weighed: by Mahalanobis distance, where it differs from the Euclidean one.
        """
        weighed = weighed and not self.channel.metric(self.position).is_euclidean
        key = (weighed, tuple(prompts))
        if key not in self._scans:
            candidates = self.weighed if weighed else self.candidates
            self._scans[key] = candidates.scan(self.channel.at(prompts, self.position))
        return self._scans[key]

    def nearest(self, prompts: Sequence[int], *, weighed: bool = False) -> Nearest:
        """The two images nearest to the row of each prompt at this position (see `scan`)."""
        weighed = weighed and not self.channel.metric(self.position).is_euclidean
        key = (weighed, tuple(prompts))
        if key not in self._found:
            self._found[key] = self.scan(prompts, weighed=weighed).nearest(2)
        return self._found[key]
