"""Pairs that collide at one layer of a model and not in its parent.

Collisions in the model are decided as in ``no_collisions``, at the model's own resolution. A pair that
also collides in the parent, at the parent's resolution, is not counted, so that pairs which the
architecture cannot tell apart are left out. At layer 0, where a state depends on the last token only,
the rows of the input embedding are compared instead of the prompts: every pair of tokens, whether
prompts end in them or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.core.tolerances import Tolerance

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.inversion.continuations import Continuations
    from pytest_injectivity.states.diagnosis import Pair

_QUANTITY = "new collisions"
_LISTED = 3
_COMPARED = 10_000


@dataclass(frozen=True)
class NewCollisionsKey(NumberKey):
    """Names the pairs that collide in a model and not in its parent.

    Attributes:
        layer: the layer.
        eps: the tolerance asked for, in the units of the model's states.
        parents_eps: likewise in the units of the parent's.
        most: how many of each model's pairs are compared one by one.
    """

    layer: Layer
    eps: float
    parents_eps: float
    most: int


class Colliding(NamedTuple):
    """The pairs that collide in one of the two models.

    Attributes:
        pairs: how many.
        listed: the distance and the kind of those listed, closest first.
        eps: the tolerance asked for, in the states' units.
    """

    pairs: int
    listed: "dict[Pair, tuple[float, str]]"
    eps: float

    def has(self, pair: "Pair", distance: float) -> bool:
        """Whether a pair collides whose states are this far apart."""
        return distance <= self.eps or pair in self.listed


@dataclass(frozen=True)
class NewPair:
    """A pair that collides in the model and not in its parent.

    Attributes:
        kind: ``collision``, ``unresolved`` or ``near``.
        pair: indexes of prompts; at layer 0 of tokens.
        distance: the distance of the two states in the model.
        parents: their distance in the parent.
    """

    kind: str
    pair: tuple[int, int]
    distance: float
    parents: float


@dataclass(frozen=True)
class NewCollisions:
    """The pairs of one layer that collide in the model and not in its parent.

    Attributes:
        count: how many pairs are new.
        exact: False where the count is a lower bound, because both models have too many pairs.
        old: how many pairs collide in both models.
        kinds: how many pairs of each kind among those evaluated, at most 10,000.
        pairs: the closest new pairs.
        eps: the tolerance asked for, in the units of the model's states.
        parents_eps: likewise in the units of the parent's states.
    """

    count: int
    exact: bool
    old: int
    kinds: dict[str, int]
    pairs: tuple[NewPair, ...]
    eps: float
    parents_eps: float

    @property
    def headline(self) -> str:
        """The counts that are not zero, in words."""
        if not self.count:
            return "no new collision"
        names = {"collision": "new collision", "unresolved": "new unresolved pair"}
        said = [number_of(n, names[kind]) for kind, n in self.kinds.items() if n and kind in names]
        if near := self.kinds["near"]:
            said.append(f"{near} new near (eps {show(self.eps)})")
        if self.exact and self.count == sum(self.kinds.values()):
            return ", ".join(said)
        first = f", of the closest {', '.join(said)}" if said else ""
        return f"{'' if self.exact else 'at least '}{number_of(self.count, 'new pair')}{first}"


def decide_together(
    against: "Against", tolerances: Mapping[Layer, Tolerance], *, most: int = _COMPARED
) -> None:
    """Decides the pairs near the resolutions of several layers, whose passes are the same.

    Layer by layer, `find_new_collisions` would run each prompt once a layer. The parent's pairs are
    decided where the model has any that collide.

    Args:
        against: the two models; each is run for all layers at once.
        tolerances: by layer, as `find_new_collisions` is asked.
        most: as for `find_new_collisions`.
    """
    sides = (against.child, against.parent)
    finite = [one for one in tolerances if one != 0 and all(side.is_finite(one) for side in sides)]
    against.child.doubtful(finite)
    found = {one: _prompts(against.child, one, tolerances[one], most) for one in finite}
    against.parent.doubtful([one for one in finite if found[one].pairs])


def find_new_collisions(
    against: "Against", layer: Layer, tolerance: Tolerance, *, most: int = _COMPARED
) -> NewCollisions:
    """Find the pairs of one layer that collide in the model and not in its parent.

    Args:
        against: the two models, whose rows of this layer are finite.
        layer: the layer.
        tolerance: the distance within which a pair collides.
        most: how many of each model's pairs are compared one by one; beyond them pairs are counted.
    """
    colliding = _tokens if layer == 0 else _prompts
    own = colliding(against.child, layer, tolerance, most)
    parents_eps = _absolute(against.parent, layer, tolerance)
    if not own.pairs:
        none = {"collision": 0, "unresolved": 0, "near": 0}
        return NewCollisions(
            count=0,
            exact=True,
            old=0,
            kinds=none,
            pairs=(),
            eps=own.eps,
            parents_eps=parents_eps,
        )
    return against.remember(
        NewCollisionsKey(layer, own.eps, parents_eps, most),
        lambda: _compared(against, layer, own, colliding(against.parent, layer, tolerance, most)),
    )


def _compared(against: "Against", layer: Layer, own: Colliding, theirs: Colliding) -> NewCollisions:
    listed = list(own.listed)
    parents = _distances(against.parent, layer, listed)
    new = [at for at, pair in enumerate(listed) if not theirs.has(pair, float(parents[at]))]
    count, exact = len(new), own.pairs == len(listed)
    if not exact:
        # The model has more pairs than are listed: how many are old is counted on the parent's pairs.
        pairs = list(theirs.listed)
        again = _distances(against.child, layer, pairs)
        unlisted = theirs.pairs - len(pairs)
        both = sum(own.has(pair, float(far)) for pair, far in zip(pairs, again, strict=True))
        count, exact = max(count, own.pairs - both - unlisted), not unlisted
    found = [(listed[at], *own.listed[listed[at]], float(parents[at])) for at in new]
    kinds = [kind for _, _, kind, _ in found]
    return NewCollisions(
        count=count,
        exact=exact,
        old=own.pairs - count,
        kinds={kind: kinds.count(kind) for kind in ("collision", "unresolved", "near")},
        pairs=tuple(
            NewPair(kind, pair, distance, far) for pair, distance, kind, far in found[:_LISTED]
        ),
        eps=own.eps,
        parents_eps=theirs.eps,
    )


def _absolute(one: "Measurements", layer: Layer, tolerance: Tolerance) -> float:
    """The distance within which pairs of a model collide."""
    rows = embedding_table(one) if layer == 0 else one.geometry(layer)
    return tolerance.absolute(rows.mean_norm)


def _prompts(one: "Measurements", layer: Layer, tolerance: Tolerance, most: int) -> Colliding:
    geometry, eps = one.geometry(layer), _absolute(one, layer, tolerance)
    near, doubts = geometry.near(eps, limit=most), one.doubtful([layer])[layer]
    prompts = geometry.prompt_of
    listed = _listed(prompts[near.left], prompts[near.right], near.distance)
    again = doubts.of_kind("collision", "unresolved")
    beyond = [pair for pair, distance, _ in again if distance > eps]
    listed |= {pair: (distance, str(decision.kind)) for pair, distance, decision in again}
    ordered = dict(sorted(listed.items(), key=lambda item: item[1][0]))
    return Colliding(near.count + len(beyond) + doubts.beyond, ordered, eps)


def _listed(
    left: np.ndarray, right: np.ndarray, distances: np.ndarray
) -> "dict[Pair, tuple[float, str]]":
    """The distance and the kind of pairs within eps."""
    every = zip(left.tolist(), right.tolist(), distances.tolist(), strict=True)
    return {
        (min(one, other), max(one, other)): (distance, "near" if distance else "collision")
        for one, other, distance in every
    }


def embedding_table(one: "Measurements") -> "Continuations":
    """The rows of the input embedding, every pair compared."""
    return one.one_step.of(None, [0])[0]


def _tokens(one: "Measurements", layer: Layer, tolerance: Tolerance, most: int) -> Colliding:
    # Rows of a matrix are not evaluated: they have no resolution.
    eps = _absolute(one, layer, tolerance)
    near = one.one_step.within(None, layer, eps, most)
    return Colliding(near.count, _listed(near.left, near.right, near.distance), eps)


def _distances(one: "Measurements", layer: Layer, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """The distance between the states of each pair."""
    import torch

    from pytest_injectivity.geometry.distances import pair_distances

    rows = one.target.decoder.embedding_matrix() if layer == 0 else one.states(layer)
    sides = torch.tensor(list(pairs), dtype=torch.long, device=rows.device).reshape(-1, 2)
    # Distances are float64, which mps does not have.
    if rows.device.type == "mps":
        rows, sides = rows.cpu(), sides.cpu()
    return pair_distances(rows, sides[:, 0], sides[:, 1]).cpu().numpy()
