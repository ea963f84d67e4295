"""One-step maps along prefixes: what every token would look like at the next position.

``F(v; prefix)`` of the whole vocabulary costs a pass of as many tokens, and everything after it is
cheap: so each is computed once, for all layers that are looked at, and shared by all releases, all
strengths and all attackers. One position of one prefix is held at a time. Along the true prefix
what is measured is "teacher-forced": an attacker is told the tokens before the one it looks for,
and its mistakes do not propagate. That is how well it does if it has made none.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float, Float32
from pytest_injectivity.inversion.one_step import distances
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.privacy.releases.observed import Observed, flatten_cache
from pytest_injectivity.privacy.search.candidates import Candidates

FLOOR_PROMPTS = 8
"""Prompts that a floor is measured on where no number is given."""


class OneStepTable:
    """The one-step maps of one prefix at several places, each computed when it is first asked for.

    Args:
        decoder: the attacker's model.
        prefix: the tokens before the position, cached as deep as the deepest place.
        places: all that will be asked for: the states of every layer come from one pass.
    """

    def __init__(self, decoder: Decoder, prefix: Prefix, places: Sequence[Place]) -> None:
        self.decoder = decoder
        self.prefix = prefix
        self._layers = tuple(dict.fromkeys(one.layer for one in places if not one.cached))
        self._states: dict[Layer, Tensor] = {}
        self._cached: list[tuple[Tensor, Tensor]] = []
        self._plain: dict[Place, Candidates] = {}

    @property
    def position(self) -> int:
        """Where the tokens stand."""
        return len(self.prefix)

    def rows(self, place: Place) -> Float[Tensor, "vocab width"]:
        """``F(v; prefix)`` of every token, in the model's dtype."""
        tokens = torch.arange(self.decoder.vocab_size)
        if not place.cached:
            if not self._states:
                self._states = self.decoder.candidates(self.prefix, tokens, self._layers)
            return self._states[place.layer]
        if not self._cached:
            self._cached = self.decoder.cached_candidates(self.prefix, tokens)
        return torch.cat(flatten_cache(*self._cached[int(place.layer) - 1], place), dim=2)[:, 0]

    def plain(self, place: Place) -> Candidates:
        """The rows as they are, by Euclidean distance: what additive noise leaves of a release."""
        if place not in self._plain:
            self._plain[place] = Candidates(self.rows(place))
        return self._plain[place]

    @cached_property
    def surprise(self) -> Float32[Tensor, " vocab"]:
        """Minus the logarithm of each token's probability: the model's own; even, before any token."""
        vocab = self.decoder.vocab_size
        if not len(self.prefix):
            return torch.zeros(vocab, device=self.decoder.device)
        surprise = -self.decoder.next_token_logits(self.prefix.ids).float().log_softmax(dim=0)
        # A model may have more or fewer logits than embedding rows (padding to a multiple).
        missing = max(0, vocab - len(surprise))
        largest = surprise[surprise.isfinite()].max()
        finite = torch.where(surprise.isfinite(), surprise, largest)
        return torch.cat([finite, largest.expand(missing)])[:vocab]


def deepest(places: Sequence[Place]) -> Layer:
    """The layer that prefixes must be cached up to."""
    return max((place.layer for place in places), key=depth)


def measure_floor(
    decoder: Decoder, observed: Observed, *, prompts: int = FLOOR_PROMPTS
) -> tuple[float, float]:
    """How far observed rows lie from what one-step maps give for their true tokens: ``nu``.

    The largest distance over some prompts, and no less than the rounding of one row, ``4 u sqrt(d)
    max|h|`` (SPEC section 2). Where rows and candidates are of different weights it is what divides
    them, which no attacker knows.

    Args:
        decoder: computes the candidates.
        observed: rows before any release; at all positions.
        prompts: how many of them are looked at.

    Returns:
        At position 0, and at all later ones.
    """
    largest = [0.0, 0.0]
    for ids, rows in zip(observed.prompts[:prompts], observed.rows, strict=False):
        prefix = decoder.prefix(torch.empty(0, dtype=torch.long), observed.layer)
        for position, token in enumerate(ids):
            if position in observed.place.positions(len(ids)):
                row = rows[observed.place.positions(len(ids)).index(position)]
                away = float(distances(_one(decoder, prefix, token, observed.place), row)[0])
                unit = torch.finfo(row.dtype).eps / 2
                rounding = 4 * unit * len(row) ** 0.5 * float(row.abs().max())
                at = min(position, 1)
                largest[at] = max(largest[at], away, rounding)
            prefix = decoder.extend(prefix, torch.tensor([token]))
    first, later = largest
    return first or later, later or first


def _one(decoder: Decoder, prefix: Prefix, token: int, place: Place) -> Float[Tensor, "one width"]:
    tokens = torch.tensor([token])
    if not place.cached:
        return decoder.candidates(prefix, tokens, [place.layer])[place.layer]
    cached = decoder.cached_candidates(prefix, tokens)
    return torch.cat(flatten_cache(*cached[int(place.layer) - 1], place), dim=2)[:, 0]
