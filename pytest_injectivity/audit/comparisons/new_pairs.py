"""Pairs that collide at one layer of a model and not in its parent.

Collisions in the model are decided as in ``no_collisions``, at the model's own noise floor. A pair that
also collides in the parent, at the parent's floor, is not counted, so that pairs which the architecture
cannot tell apart are left out. At layer 0, where a state depends on the last token only, the rows of the
input embedding are compared instead of the prompts: every pair of tokens, whether prompts end in them or
not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.tolerances import Tolerance

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.search.near_pairs import NearPairs
    from pytest_injectivity.inversion.continuations import Continuations

_QUANTITY = "new collisions"
_EVALUATED_AGAIN = 1000
_LISTED = 3


@dataclass(frozen=True)
class NewCollisionsKey(NumberKey):
    """Names the pairs that collide in a model and not in its parent.

    Attributes:
        layer: the layer.
        threshold: the distance within which two states of the model collide.
        parents_threshold: the distance within which two states of the parent collide.
        most: how many of each model's pairs are compared one by one.
    """

    layer: Layer
    threshold: float
    parents_threshold: float
    most: int


class Near(NamedTuple):
    """The pairs within the threshold in one of the two models.

    Attributes:
        pairs: the pairs listed, closest first.
        threshold: the distance within which pairs count.
        eps: the tolerance asked for, in the states' units.
    """

    pairs: "NearPairs"
    threshold: float
    eps: float

    @property
    def listed(self) -> list[tuple[int, int]]:
        """The pairs listed, each with its smaller index first."""
        found = zip(self.pairs.left.tolist(), self.pairs.right.tolist(), strict=True)
        return [(min(pair), max(pair)) for pair in found]


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
        threshold: the distance within which pairs of the model collide.
        parents_threshold: likewise of the parent, in the units of its states.
    """

    count: int
    exact: bool
    old: int
    kinds: dict[str, int]
    pairs: tuple[NewPair, ...]
    eps: float
    threshold: float
    parents_threshold: float

    @property
    def headline(self) -> str:
        """The counts that are not zero, in words."""
        if not self.count:
            return "no new collision"
        names = {"collision": "new collision", "unresolved": "new unresolved pair"}
        said = [
            f"{n} {names[kind]}{'s' if n > 1 else ''}"
            for kind, n in self.kinds.items()
            if n and kind in names
        ]
        if near := self.kinds["near"]:
            said.append(f"{near} new near (eps {show(self.threshold)})")
        if self.exact and self.count == sum(self.kinds.values()):
            return ", ".join(said)
        first = f", of the closest {', '.join(said)}" if said else ""
        return f"{'' if self.exact else 'at least '}{self.count} new pairs{first}"


def find_new_collisions(
    against: "Against", layer: Layer, tolerance: Tolerance, *, most: int = 10_000
) -> NewCollisions:
    """Find the pairs of one layer that collide in the model and not in its parent.

    Args:
        against: the two models, whose rows of this layer are finite.
        layer: the layer.
        tolerance: the distance within which a pair collides.
        most: how many of each model's pairs are compared one by one; beyond them pairs are counted.
    """
    near = _tokens if layer == 0 else _prompts
    own, theirs = (near(one, layer, tolerance, most) for one in (against.child, against.parent))
    if not own.pairs.count:
        none = {"collision": 0, "unresolved": 0, "near": 0}
        return NewCollisions(
            count=0,
            exact=True,
            old=0,
            kinds=none,
            pairs=(),
            eps=own.eps,
            threshold=own.threshold,
            parents_threshold=theirs.threshold,
        )
    return against.remember(
        NewCollisionsKey(layer, own.threshold, theirs.threshold, most),
        lambda: _compared(against, layer, own, theirs),
    )


def _compared(against: "Against", layer: Layer, own: Near, theirs: Near) -> NewCollisions:
    listed = own.listed
    parents = _distances(against.parent, layer, listed)
    new = [at for at, far in enumerate(parents) if far > theirs.threshold]
    count, exact = len(new), own.pairs.count == len(listed)
    if not exact:
        # The model has more pairs than are listed: how many are old is counted on the parent's pairs.
        again = _distances(against.child, layer, theirs.listed)
        unlisted = theirs.pairs.count - len(again)
        old = int((again <= own.threshold).sum()) + unlisted
        count, exact = max(count, own.pairs.count - old), not unlisted
    found = [(listed[at], float(own.pairs.distance[at]), float(parents[at])) for at in new]
    kinds = _kinds(against.child, layer, [(pair, distance) for pair, distance, _ in found])
    return NewCollisions(
        count=count,
        exact=exact,
        old=own.pairs.count - count,
        kinds={kind: kinds.count(kind) for kind in ("collision", "unresolved", "near")},
        pairs=tuple(
            NewPair(kind, *one) for kind, one in list(zip(kinds, found, strict=True))[:_LISTED]
        ),
        eps=own.eps,
        threshold=own.threshold,
        parents_threshold=theirs.threshold,
    )


def _prompts(one: "Measurements", layer: Layer, tolerance: Tolerance, most: int) -> Near:
    geometry = one.geometry(layer)
    eps = tolerance.absolute(geometry.mean_norm)
    threshold = max(eps, 2 * one.noise(layer).value)
    return Near(geometry.near(threshold, limit=most), threshold, eps)


def embedding_table(one: "Measurements") -> "Continuations":
    """The rows of the input embedding, every pair compared."""
    return one.one_step.of(None, [0])[0]


def _tokens(one: "Measurements", layer: Layer, tolerance: Tolerance, most: int) -> Near:
    # Rows of a matrix are not evaluated: there is no noise between them.
    eps = tolerance.absolute(embedding_table(one).mean_norm)
    return Near(one.one_step.within(None, layer, eps, most), eps, eps)


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


def _kinds(
    one: "Measurements", layer: Layer, pairs: Sequence[tuple[tuple[int, int], float]]
) -> list[str]:
    """The kind of each pair; pairs within twice the noise floor are evaluated again in one shape."""
    if layer == 0:
        return ["collision" if distance == 0 else "near" for _, distance in pairs]
    within = 2 * one.noise(layer).value
    doubtful = [pair for pair, distance in pairs if distance <= within]
    equal = one.equal_together(layer, doubtful[:_EVALUATED_AGAIN])
    # Beyond the pairs evaluated again, the captured rows themselves say which are equal.
    equal += [distance == 0 for _, distance in pairs[len(equal) : len(doubtful)]]
    kinds = ["collision" if same else "unresolved" for same in equal]
    return [*kinds, *["near"] * (len(pairs) - len(doubtful))]
