"""Collisions among all tokens at one place: tables of the one-step map, all pairs compared.

Pairs are judged as collisions of prompts are: equal, not to be told apart, or nearer than eps. Even at
layer 0 a collision comes from the checkpoint's values and not from the architecture, because the states
compared end in different tokens.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_injectivity.audit.judging.collisions import Found, would_pass
from pytest_injectivity.audit.measurements.evaluated_pairs import evaluate_pairs
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.core.tolerances import Tolerance
from pytest_injectivity.results.verdict import Reason, Status, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.search.near_pairs import NearPairs
    from pytest_injectivity.inversion.continuation_search import ContinuationSearch
    from pytest_injectivity.inversion.continuations import Continuations

# Pairs decided by evaluation at one place, the closest; those beyond count as unresolved.
_EVALUATED = 10_000
# Pairs near each other in the scaled distance whose Euclidean distance is looked at.
_LOOKED_AT = 200_000
_LISTED = 3


@dataclass(frozen=True)
class DecidedContinuationsKey(NumberKey):
    """Whether pairs of continuations of a prompt can be told apart.

    Attributes:
        layer: the layer.
        prompt: the token ids that are continued.
        pairs: the tokens they are continued by.
    """

    layer: Layer
    prompt: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]


class Place(NamedTuple):
    """The place at which every token is compared: the tokens before it, and its resolution.

    Attributes:
        search: computes the table.
        ids: the tokens before it; None for the rows of the input embedding.
        words: names the place in lines, such as ``put first``.
        resolution: at the place; 0 for rows of a matrix, which are not evaluated.
        scale: the mean norm that a relative eps is multiplied by.
    """

    search: "ContinuationSearch"
    ids: tuple[int, ...] | None
    words: str
    resolution: float
    scale: float


class Pair(NamedTuple):
    """Two tokens at one place, with the distance of their states."""

    distance: float
    left: int
    right: int
    kind: str
    words: str


@dataclass(frozen=True)
class Counted:
    """The pairs that count against a layer at one place.

    Attributes:
        place: the place.
        table: the states of all tokens at the place, every pair compared.
        found: how many pairs of each kind.
        pairs: the closest of these pairs.
        sampled: of how many tokens the unresolved pairs are, where there are too many to count; else 0.
    """

    place: Place
    table: "Continuations"
    found: Found
    pairs: tuple[Pair, ...]
    sampled: int = 0

    @property
    def closest(self) -> Pair | None:
        """The closest pair, whether it counts or not; None where there is no pair."""
        distance, pair = self.table.minimum
        return pair and Pair(distance, *pair, "closest pair", self.place.words)

    @property
    def closest_distinct(self) -> Pair | None:
        """The closest pair of states that are not equal."""
        table = self.table
        kind = "closest pair that is not equal" if table.equal else "closest pair"
        return table.pair and Pair(table.closest, *table.pair, kind, self.place.words)


def count_collisions(
    measured: "Measurements",
    layer: Layer,
    tolerance: Tolerance,
    place: Place,
    table: "Continuations",
) -> Counted:
    """Counts the pairs of tokens that collide at one place."""
    eps = tolerance.absolute(place.scale)
    near = place.search.within(place.ids, layer, eps, _LISTED + _EVALUATED)
    decided, beyond, sampled = _decided(measured, layer, place)
    again = {pair: (distance, kind) for pair, distance, kind in decided if kind != "resolved"}
    collided = sum(kind == "collision" for _, kind in again.values())
    within = table.collisions + sum(distance <= eps for distance, _ in again.values())
    found = Found(
        collisions=table.collisions + collided,
        unresolved=len(again) - collided + beyond,
        near=max(0, near.count - within),
        eps=eps,
        pairs=(),
        closest=table.minimum[0],
    )
    # No more are replaced than were decided again: the closest of those beyond need no look.
    kinds = {
        pair: (distance, "near" if distance else "collision")
        for pair, distance in _listed(near, _LISTED + len(again))
    }
    ordered = sorted((kinds | again).items(), key=lambda one: (one[1][0], one[0]))
    return Counted(
        place,
        table,
        found,
        tuple(
            Pair(distance, *pair, kind, place.words) for pair, (distance, kind) in ordered[:_LISTED]
        ),
        sampled,
    )


def table_reason(
    layer: Layer,
    quantity: str,
    counted: Sequence[Counted],
    lines: Iterable[str],
    *,
    figures: dict[str, float] | None = None,
    twins: int = 0,
) -> Reason:
    """The reason of a layer, from the pairs that count at any of its places.

    Args:
        layer: the layer.
        quantity: what is counted.
        counted: the pairs that count at each place.
        lines: the evidence.
        figures: the numbers beside it.
        twins: pairs of equal embedding rows that count once, whatever the number of places.
    """
    found = _together([one.found for one in counted])
    own = found.collisions
    found = found._replace(collisions=own + twins)
    of_collisions = f", {twins if own else 'all'} of equal embedding rows" if twins else ""
    return Reason(
        where=layer_id(layer),
        status=judge(found.total, "<=", 0),
        quantity=quantity,
        value=found.total,
        bound=0,
        relation="<=",
        headline=found.headline(of_collisions),
        evidence=tuple(lines),
        would_pass=would_pass(found) if own or not twins else f"twins={twins}",
        figures=figures or {},
    )


def undecided(layer: Layer, quantity: str, headline: str, lines: Iterable[str]) -> Reason:
    """The failing reason of a layer with states that are not finite, or with nothing compared."""
    return Reason(
        where=layer_id(layer),
        status=Status.FAIL,
        quantity=quantity,
        value=math.nan,
        bound=0,
        relation="<=",
        headline=headline,
        evidence=tuple(lines),
    )


def pair_lines(measured: "Measurements", counted: Sequence[Counted]) -> list[str]:
    """Lines on the closest pairs that count; on the closest pair of all where none counts."""
    listed = sorted(pair for one in counted for pair in one.pairs)[:_LISTED]
    if not listed:
        listed = sorted(one.closest for one in counted if one.closest)[:1]
    lines = [pair_line(measured, one) for one in listed]
    lines += [
        f"{one.place.words}: too many unresolved pairs to count: those of"
        f" {number_of(one.sampled, 'token')}"
        " are counted"
        for one in counted
        if one.sampled
    ]
    return lines


def pair_line(measured: "Measurements", pair: Pair) -> str:
    """A line that names the tokens of a pair."""
    tokens = " and ".join(measured.target.name_of_token(token) for token in (pair.left, pair.right))
    return f"{pair.kind}, distance {show(pair.distance)}: {tokens} {pair.words}"


def _together(found: Sequence[Found]) -> Found:
    """The sums over all places; eps is that of the first place with near pairs."""
    first = next((one for one in found if one.near), found[0])
    return first._replace(
        collisions=sum(one.collisions for one in found),
        unresolved=sum(one.unresolved for one in found),
        near=sum(one.near for one in found),
        closest=min(one.closest for one in found),
    )


def _listed(near: "NearPairs", count: int) -> list[tuple[tuple[int, int], float]]:
    """The closest pairs, the smaller token first, with their distances."""
    left, right = near.left[:count], near.right[:count]
    pairs = zip(np.minimum(left, right).tolist(), np.maximum(left, right).tolist(), strict=True)
    return list(zip(pairs, near.distance[:count].tolist(), strict=True))


def _decided(
    measured: "Measurements", layer: Layer, place: Place
) -> tuple[list[tuple[tuple[int, int], float, str]], int, int]:
    """The pairs within reach with their kinds, how many were not evaluated, and the sample of tokens."""
    from pytest_injectivity.inversion.near_tokens import Reach

    if place.ids is None:
        return [], 0, 0
    reach = Reach.of(measured.resolution(layer).of(len(place.ids)))
    found = place.search.near_resolution(place.ids, layer, reach, _LOOKED_AT)
    near = found.pairs
    some = _listed(near, _EVALUATED)
    beyond = near.count - len(some)
    if not some:
        return [], beyond, found.sampled
    tokens = sorted({token for pair, _ in some for token in pair})
    at = {token: row for row, token in enumerate(tokens)}
    ids = place.ids
    pairs = tuple((at[left], at[right]) for (left, right), _ in some)
    decisions = measured.target.remember(
        DecidedContinuationsKey(layer, ids, tuple(pair for pair, _ in some)),
        lambda: evaluate_pairs(
            measured.target,
            [(*ids, token) for token in tokens],
            {layer: pairs},
            {layer: measured.resolution(layer)},
        )[layer],
    )
    return (
        [
            (pair, distance, str(decision.kind))
            for (pair, distance), decision in zip(some, decisions, strict=True)
        ],
        beyond,
        found.sampled,
    )
