"""One prompt's states from elsewhere, what is claimed of them, and how far they lie from the model's.

Distances are relative: ``||h - h'|| / ||h'||`` of each position, ``h'`` the model's own state. A layer
fits where the median over positions is within its tolerance, so that neither an attention sink nor a
single row decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.faults.rounded_cache import states_behind_cache

ROUND_OFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    "fp8": 2.0**-4,
    "fp8_e4m3": 2.0**-4,
    "fp8_e5m2": 2.0**-3,
}
"""Unit round-off of each dtype: the largest relative error of one rounding."""

CLEARLY = 0.5
"""A hypothesis is preferred to the claim where it leaves at most this share of the distance."""

ROW = 4.0
"""A single row may be off by so many times what the median may: kernels differ most at few rows."""


class Kind(StrEnum):
    """The kinds of faults, as reports and tests name them."""

    NOT_FINITE = "not finite"
    ZERO_ROWS = "zero rows"
    LAYER = "another layer"
    NORM = "other side of the norm"
    AXES = "transposed axes"
    RESIDUAL = "missing residual"
    POSITIONS = "shuffled positions"
    PADDING = "left padding"
    BOS = "missing BOS"
    TOKENS = "shuffled tokens"
    DTYPE = "another dtype"
    KV_CACHE = "rounded KV cache"
    ROWS = "rows of other tokens"
    MODEL = "another model"


ELSEWHERE = frozenset(
    {
        Kind.ZERO_ROWS,
        Kind.LAYER,
        Kind.NORM,
        Kind.AXES,
        Kind.RESIDUAL,
        Kind.POSITIONS,
        Kind.PADDING,
        Kind.BOS,
        Kind.TOKENS,
    }
)
"""Kinds by which states are those of something else, however exact they are."""


@dataclass(frozen=True)
class Fault:
    """Something that is not as claimed.

    Attributes:
        kind: what it is.
        layer: where; None: of the prompt, at all layers.
        words: what the states look like instead, in a few words.
        line: the same as a sentence, with numbers.
    """

    kind: Kind
    layer: Layer | None
    words: str
    line: str


@dataclass(frozen=True)
class Claims:
    """What is said of states beside their layers.

    Attributes:
        stored: the dtype of their values.
        computed: the dtype that the engine computed in; None where nothing says it.
        kv_cache: the dtype that it cached keys and values in; None: as it computed.
        frame: the tokens that the model's tokenizer puts before every text.
        starts: other tokens that prompts may begin with.
    """

    stored: str
    computed: str | None = None
    kv_cache: str | None = None
    frame: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Case:
    """One prompt whose states are looked at.

    Attributes:
        decoder: the model that they are claimed to be of.
        ids: the prompt.
        states: by claimed layer, as they were read.
        claims: what else is said of them.
        tolerances: by claimed layer, how far a median position may be off.
    """

    decoder: Decoder
    ids: tuple[int, ...] = field(repr=False)
    states: Mapping[Layer, Float[Tensor, "tokens width"]] = field(repr=False)
    claims: Claims
    tolerances: Mapping[Layer, float]

    @cached_property
    def theirs(self) -> dict[Layer, Float64[Tensor, "tokens width"]]:
        """The states as claimed, in float64."""
        return {layer: one.double() for layer, one in self.states.items()}

    @cached_property
    def own(self) -> dict[Layer, Float64[Tensor, "tokens width"]]:
        """The model's own states of the same ids, at all layers."""
        every = (0, *self.decoder.layers)
        plain = self.model_states(self.ids, every)
        if self.claims.kv_cache is None:
            return plain
        return states_behind_cache(self.decoder, self.ids, every, self.claims.kv_cache) or plain

    @property
    def coarser(self) -> dict[Layer, float]:
        """The tolerances; where a rounded cache is claimed, with what its rounding alone does."""
        if self.claims.kv_cache is None:
            return dict(self.tolerances)
        plain = self.model_states(self.ids, list(self.states))
        return {
            layer: bound + 2 * float(relative(plain[layer], self.own[layer]).median())
            for layer, bound in self.tolerances.items()
        }

    @cached_property
    def bounds(self) -> dict[Layer, float]:
        """How far a median position of each claimed layer may be off."""
        return self.coarser

    @property
    def loosest(self) -> float:
        """The largest of the bounds: for hypotheses that are of no one layer."""
        return max(self.bounds.values())

    @cached_property
    def off(self) -> dict[Layer, Float64[Tensor, " tokens"]]:
        """How far each position is off, by claimed layer."""
        return {layer: relative(one, self.own[layer]) for layer, one in self.theirs.items()}

    def fits(self, layer: Layer) -> bool:
        """Whether the states of a layer are the model's."""
        return float(self.off[layer].median()) <= self.bounds[layer]

    @property
    def misfits(self) -> list[Layer]:
        """The claimed layers whose states are not the model's."""
        return [layer for layer in self.states if not self.fits(layer)]

    def model_states(
        self, ids: Sequence[int], layers: Sequence[Layer]
    ) -> dict[Layer, Float64[Tensor, "tokens width"]]:
        """The model's own states of some ids, in float64 on the CPU."""
        found = self.decoder.states(torch.tensor([list(ids)], dtype=torch.long), layers)
        return {layer: one[0].cpu().double() for layer, one in found.items()}


def relative(
    theirs: Float[Tensor, "... width"], own: Float[Tensor, "... width"]
) -> Float64[Tensor, "..."]:
    """``||h - h'|| / ||h'||`` of each row; 0 where both are 0."""
    off = torch.linalg.vector_norm(theirs.double() - own.double(), dim=-1)
    norm = torch.linalg.vector_norm(own.double(), dim=-1)
    return torch.where(off == 0, 0.0, off / norm)


def named(layer: Layer) -> str:
    """A layer in a sentence: ``layer 3``, ``norm``."""
    return "norm" if layer == "norm" else f"layer {layer}"
