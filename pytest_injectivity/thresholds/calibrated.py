"""The table of thresholds that are calibrated: what is measured of each at a layer, and its rule."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.errors import (
    block_errors_of,
    site_layer,
    weight_errors_of,
)
from pytest_injectivity.audit.comparisons.next_token import (
    agreement,
    mean_divergence,
    next_tokens,
)
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.stats import upper_quantile
from pytest_injectivity.thresholds.rules import (
    AT_LEAST,
    AT_MOST,
    BITS,
    KEPT,
    SHARE,
    SQUARED,
    Rule,
)

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.next_token import NextTokens

_Q = 0.01
_CONFIDENCE = 0.95
_PROMPTS, _TOKENS = 100, 128
_FEWEST_BITS, _MOST_BITS = 2, 12


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A threshold of the quantization gate that is measured on trusted models.

    Attributes:
        name: of the ini value.
        words: what it bounds, for its comment.
        rule: how it follows from the values.
        measure: the values at a layer, of a child compared with its parent.
        layers: of those that are audited, and others, the ones that are measured.
        each: a row for each precision; otherwise one number for the parent and all children.
        dense: measured of children alone that are stored in a dtype that says nothing of their bits;
            others have bounds by the bits that were proved.
        untrusted: the value from which on a child is not one to be trusted; infinite for none.
    """

    name: str
    words: str
    rule: Rule
    measure: "Callable[[Against, Layer], Sequence[float]]"
    layers: Callable[[Sequence[Layer]], Sequence[Layer]] = tuple
    each: bool = True
    dense: bool = False
    untrusted: float = math.inf


def _and_embedding(audited: Sequence[Layer]) -> Sequence[Layer]:
    return (0, *(layer for layer in audited if layer != 0))


def _head(_audited: Sequence[Layer]) -> Sequence[Layer]:
    """The layer before the head, once."""
    return ("norm",)


def _next_tokens(against: "Against") -> "NextTokens":
    return next_tokens(against, _PROMPTS, _TOKENS, second_half=False)


def _at(against: "Against", site: str) -> Layer:
    """The layer that an error belongs to."""
    return site_layer(site, against.child.target.n_layers)


def _drift(against: "Against", layer: Layer) -> list[float]:
    return [upper_quantile(against.drift(layer).relative, _Q)]


def _margins(against: "Against", layer: Layer) -> list[float]:
    return [one.geometry(layer).margin(_Q) for one in (against.child, against.parent)]


def _colipschitz(against: "Against", layer: Layer) -> list[float]:
    return [one.geometry(layer).colipschitz(_Q) for one in (against.child, against.parent)]


def _enough_bits(against: "Against", layer: Layer) -> list[float]:
    """The fewest bits from which on no two states collide, of the child and of its parent."""
    return [
        1.0
        + max(
            (
                bits
                for bits in range(_FEWEST_BITS, _MOST_BITS)
                if one.geometry(layer, bits=bits).equal.pairs
            ),
            default=_FEWEST_BITS - 1,
        )
        for one in (against.child, against.parent)
    ]


def _ratio(child: float, parent: float) -> float:
    return child / parent if parent else math.nan


CALIBRATED = (
    Calibrated(
        name="gate_margin",
        words="The least 1 % margin in units of the mean norm, of the parent and its children",
        rule=AT_LEAST,
        measure=lambda against, layer: [
            one.geometry(layer).margin(_Q, normalized=True)
            for one in (against.child, against.parent)
        ],
        each=False,
    ),
    Calibrated(
        name="gate_colipschitz",
        words="The least 1 % co-Lipschitz constant in units of the mean norm, likewise",
        rule=AT_LEAST,
        measure=lambda against, layer: [
            one.geometry(layer).colipschitz(_Q, normalized=True)
            for one in (against.child, against.parent)
        ],
        each=False,
    ),
    Calibrated(
        name="gate_bits",
        words="Activations rounded to so many bits and more make no collision, of all these models",
        rule=BITS,
        measure=_enough_bits,
        each=False,
    ),
    Calibrated(
        name="gate_weight_error",
        words="The largest ||W' - W|| / ||W|| of a tensor, W the parent's, of children stored dense",
        rule=AT_MOST,
        measure=lambda against, layer: [
            one.error for one in weight_errors_of(against) if _at(against, one.site) == layer
        ],
        layers=_and_embedding,
        dense=True,
    ),
    Calibrated(
        name="gate_block_error",
        words="The largest error of a block on the parent's states, of children stored dense",
        rule=AT_MOST,
        measure=lambda against, layer: [
            one.value
            for site, one in block_errors_of(against).items()
            if _at(against, site) == layer
        ],
        layers=_and_embedding,
        dense=True,
    ),
    Calibrated(
        name="gate_drift",
        words="The largest ||h - h'|| / ||h'|| of 99 % of the prompts, h' the parent's state",
        rule=AT_MOST,
        measure=_drift,
        layers=_and_embedding,
        untrusted=1.0,  # what states of 0 would have
    ),
    Calibrated(
        name="gate_kl",
        words="The largest mean KL(parent || model) of a next token, in nats",
        rule=SQUARED,
        measure=lambda against, _layer: [mean_divergence(_next_tokens(against), _CONFIDENCE)[0]],
        layers=_head,
    ),
    Calibrated(
        name="gate_top1",
        words="The least share of positions at which both models prefer the same token",
        rule=SHARE,
        measure=lambda against, _layer: [agreement(_next_tokens(against), _CONFIDENCE)[0]],
        layers=_head,
    ),
    Calibrated(
        name="gate_margin_kept",
        words="The least share of the parent's 1 % margin; 1 over it is the largest",
        rule=KEPT,
        measure=lambda against, layer: [_ratio(*_margins(against, layer))],
    ),
    Calibrated(
        name="gate_colipschitz_kept",
        words="The least share of the parent's 1 % co-Lipschitz constant; 1 over it is the largest",
        rule=KEPT,
        measure=lambda against, layer: [_ratio(*_colipschitz(against, layer))],
    ),
)
"""Every threshold that is calibrated, in the order in which they are written."""
