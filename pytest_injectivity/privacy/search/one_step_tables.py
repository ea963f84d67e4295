"""One-step maps: the rows that tokens would have at the position after a prefix.

``F(v; prefix)`` of the whole vocabulary costs a forward pass of as many tokens, and comparing rows with
it is cheap. So each table is computed once for all layers, and shared by all releases, strengths and
attackers. A table may hold some tokens only: those that are worth comparing (`pruning`).
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Bool, Float, Float32, Int64
from pytest_injectivity.inversion.one_step import distances
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.models.recorded import recorded_candidates
from pytest_injectivity.privacy.releases.observed import (
    Observed,
    rows_of_caches,
    rows_of_states,
    seen_of_states,
)
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.mahalanobis import EUCLIDEAN, MahalanobisMetric
from pytest_injectivity.privacy.search.padding import named_tokens

FLOOR_PROMPTS = 8
"""Default number of prompts that a floor is measured on."""

# Tokens of the pass that stands for a table's.
_AMONG = 64


class OneStepTable:
    """The one-step maps of one prefix at several places, computed when they are first asked for.

    Args:
        decoder: the attacker's model.
        prefix: the tokens before the position, cached down to the deepest place.
        places: all places that will be asked for; the states of all layers come from one pass.
        tokens: the tokens that the table holds, each once and in rising order; None: the vocabulary.
        states: by layer the states of these tokens, where they are computed already.
        surprise: the model's, where it is computed already.
    """

    def __init__(
        self,
        decoder: Decoder,
        prefix: Prefix,
        places: Sequence[Place],
        *,
        tokens: Int64[Tensor, " tokens"] | None = None,
        states: Mapping[Layer, Float[Tensor, "tokens width"]] | None = None,
        surprise: Float32[Tensor, " vocab"] | None = None,
    ) -> None:
        self.decoder = decoder
        self.prefix = prefix
        self.places = tuple(places)
        self._seen = {
            one: seen_of_states(decoder, one) for one in dict.fromkeys(places) if one.from_states
        }
        self.layers = tuple(
            dict.fromkeys(layer for one in places if one.from_states for layer in one.layers)
        )
        self.tokens = tokens
        self._states = {} if states is None else dict(states)
        self._surprise = surprise
        self._recorded: dict[Place, Float[Tensor, "tokens width"]] = {}
        self._cached: list[tuple[Tensor, Tensor]] = []
        self._plain: dict[Place, Candidates] = {}

    def __len__(self) -> int:
        """The number of tokens that the table holds."""
        return self.decoder.vocab_size if self.tokens is None else len(self.tokens)

    @cached_property
    def whole(self) -> "OneStepTable":
        """The table of the whole vocabulary after the same prefix."""
        if self.tokens is None:
            return self
        return OneStepTable(self.decoder, self.prefix, self.places, surprise=self._surprise)

    def only(
        self,
        tokens: Int64[Tensor, " tokens"],
        states: Mapping[Layer, Float[Tensor, "tokens width"]],
    ) -> "OneStepTable":
        """A table after the same prefix that holds these tokens only, whose states are given."""
        return OneStepTable(
            self.decoder,
            self.prefix,
            self.places,
            tokens=tokens,
            states=states,
            surprise=self._surprise,
        )

    def joined(
        self,
        tokens: Int64[Tensor, " further"],
        states: Mapping[Layer, Float[Tensor, "further width"]],
    ) -> "OneStepTable":
        """A table of some tokens that holds further ones too, whose states are given."""
        if self.tokens is None:
            return self
        if not len(self.tokens):
            return self.only(tokens, states)
        held = torch.cat([self.tokens, tokens])
        order = held.argsort()
        every = {
            layer: torch.cat([self._states[layer], some])[order.to(some.device)]
            for layer, some in states.items()
        }
        return self.only(held[order], every)

    def with_tokens(self, tokens: Sequence[int]) -> "OneStepTable":
        """A table of some tokens that holds further ones too, which are run now."""
        further = torch.tensor(tokens, dtype=torch.long)
        states: dict[Layer, Tensor] = {}
        if self.layers:
            states = self.decoder.candidates(self.prefix, further, self.layers)
        return self.joined(further, states)

    @property
    def position(self) -> int:
        """The position after the prefix."""
        return len(self.prefix)

    def rows(self, place: Place) -> Float[Tensor, "tokens width"]:
        """``F(v; prefix)`` of every token ``v`` of the table at a place, in the model's dtype."""
        tokens = torch.arange(len(self)) if self.tokens is None else self.tokens
        if what := place.recorded:
            if place not in self._recorded:
                self._recorded[place] = recorded_candidates(
                    self.decoder, self.prefix, tokens, int(place.layer), what
                )
            return self._recorded[place]
        if not place.cached:
            if not self._states:
                self._states = self.decoder.candidates(self.prefix, tokens, self.layers)
            return rows_of_states(place, self._seen[place], self._states)
        if not self._cached:
            self._cached = self.decoder.cached_candidates(self.prefix, tokens)
        return rows_of_caches(place, self._cached)

    def plain(self, place: Place) -> Candidates:
        """The rows themselves, searched by Euclidean distance; the images of every additive noise."""
        if place not in self._plain:
            self._plain[place] = self.candidates(self.rows(place))
        return self._plain[place]

    def candidates(
        self, images: Float[Tensor, "tokens width"], metric: MahalanobisMetric = EUCLIDEAN
    ) -> Candidates:
        """What the table's tokens become in a release, to be searched."""
        named = self.named if self.tokens is None else None
        return Candidates(images, metric, named, tokens=self.tokens)

    @property
    def named(self) -> Bool[Tensor, " vocab"] | None:
        """Which rows of the embedding are tokens; None where all are."""
        return named_tokens(self.decoder)

    def expected(self, count: int) -> Int64[Tensor, " count"]:
        """The tokens that the model expects most after the prefix, on the CPU; no padding."""
        surprise = self.surprise
        if self.named is not None:
            surprise = surprise.masked_fill(~self.named, torch.inf)
            count = min(count, int(self.named.sum()))
        return surprise.topk(count, largest=False).indices.cpu()

    @property
    def surprise(self) -> Float32[Tensor, " vocab"]:
        """Minus the logarithm of each token's probability after the prefix; 0 after an empty prefix."""
        if self._surprise is None:
            (self._surprise,) = surprises(self.decoder, self.prefix.ids[None])
        return self._surprise


def surprises(
    decoder: Decoder, ids: Int64[Tensor, "prefixes length"]
) -> Float32[Tensor, "prefixes vocab"]:
    """Minus the logarithm of each token's probability after prefixes of one length; 0 after none."""
    vocab, length = decoder.vocab_size, ids.shape[1]
    if not length:
        return torch.zeros(len(ids), vocab, device=decoder.device)
    logits = decoder.last_logits(ids, torch.full((len(ids),), length - 1))
    surprise = -logits.float().log_softmax(dim=1)
    finite = surprise.isfinite()
    largest = surprise.masked_fill(~finite, -torch.inf).amax(dim=1, keepdim=True)
    surprise = torch.where(finite, surprise, largest)
    # A model may have more or fewer logits than embedding rows (padding to a multiple).
    missing = max(0, vocab - surprise.shape[1])
    return torch.cat([surprise, largest.expand(-1, missing)], dim=1)[:, :vocab]


def deepest(places: Sequence[Place]) -> Layer:
    """The deepest layer of some places, down to which prefixes must be cached."""
    return max((place.layer for place in places), key=depth)


def measure_floor(
    decoder: Decoder, observed: Observed, *, prompts: int = FLOOR_PROMPTS
) -> tuple[float, float]:
    """The largest distance ``nu`` from observed rows to the one-step maps of their true tokens.

    It is no less than one rounding of a row, ``u ||h||`` (SPEC section 2). Where the
    sender's weights differ from the attacker's, ``nu`` is the difference that they make, which an
    attacker could not measure.

    Args:
        decoder: the attacker's model, which computes the one-step maps.
        observed: rows before any release; give all positions.
        prompts: number of prompts that are measured.

    Returns:
        ``nu`` at position 0, and at all later positions.
    """
    largest = [0.0, 0.0]
    for ids, rows in zip(observed.prompts[:prompts], observed.rows, strict=False):
        prefix = decoder.prefix(torch.empty(0, dtype=torch.long), observed.layer)
        for position, token in enumerate(ids):
            if position in observed.place.positions(len(ids)):
                row = rows[observed.place.positions(len(ids)).index(position)]
                away = max(
                    float(distances(of_token[None], row)[0])
                    for of_token in _evaluated(decoder, prefix, token, observed)
                )
                unit = torch.finfo(row.dtype).eps / 2
                rounding = unit * float(torch.linalg.vector_norm(row.double()))
                at = min(position, 1)
                largest[at] = max(largest[at], away, rounding)
            prefix = decoder.extend(prefix, torch.tensor([token]))
    first, later = largest
    return first or later, later or first


def _evaluated(
    decoder: Decoder, prefix: Prefix, token: int, observed: Observed
) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
    """A token's row: alone behind a prefix grown in steps, and among its neighbors as in a table."""
    at_once = decoder.prefix(prefix.ids.cpu(), observed.layer)
    start = token // _AMONG * _AMONG
    neighbors = torch.arange(start, min(start + _AMONG, decoder.vocab_size))
    place = observed.place
    alone = OneStepTable(decoder, prefix, (place,), tokens=torch.tensor([token]))
    among = OneStepTable(decoder, at_once, (place,), tokens=neighbors)
    return alone.rows(place)[0], among.rows(place)[token - start]
