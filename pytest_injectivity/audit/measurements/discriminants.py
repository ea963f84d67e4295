"""How far the weights are from weights at which pairs of prompts collide (SPEC section 11)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.keys import CollidingChangeKey
from pytest_injectivity.audit.measurements.collision_phase import collision_phase, search_work
from pytest_injectivity.audit.measurements.float64_copies import Float64Copies
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.core.durations import size
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.states.diagnosis import Pair
    from pytest_injectivity.theory.changed_weights import Weights
    from pytest_injectivity.theory.discriminant import CollidingChange

COMPARED = (8, 4)
"""Bits of the roundings that every change is compared with."""


def roundings_with(bits: int | None) -> tuple[int, ...]:
    """Bits of the roundings that a change is compared with, most first.

    Args:
        bits: of a further one; None: there is none.
    """
    return tuple(sorted({*COMPARED, *([bits] if bits else [])}, reverse=True))


Place = tuple[Layer, "Pair", str | int]
"""A layer, a pair of prompts, and which weights may change."""


class Discriminants:
    """Looks for the smallest changes of weights at which pairs collide, each once.

    Args:
        target: the model and the prompt set.
        float64: says whether there is a float64 copy of the model, in which the search computes.
    """

    def __init__(self, target: Target, float64: Float64Copies) -> None:
        self.target = target
        self._float64 = float64

    def of(
        self, places: Sequence[Place], bits: tuple[int, ...]
    ) -> "Mapping[Place, CollidingChange]":
        """The change found at each place, without its tensors; none where there is no float64 copy.

        Args:
            places: what collides, where, and which weights may change.
            bits: of roundings of the same weights that are compared with the change.

        Raises:
            ModelError: a state is not finite.
            OptionError: the weights named do not change the layer, or are too many for the memory that
                is free.
        """
        keys = {place: CollidingChangeKey(*place, bits) for place in places}
        if not self.target.entry.known(keys.values()) and self._float64.why_none():
            return {}
        return self.target.entry.remember_each(keys, lambda missing: self._found(missing, bits))

    def _found(
        self, missing: Sequence[Place], bits: tuple[int, ...]
    ) -> "Mapping[Place, CollidingChange]":
        from pytest_injectivity.models.float64 import release
        from pytest_injectivity.theory.changed_weights import rounding_of
        from pytest_injectivity.theory.discriminant import colliding_change

        # Loaded first: what is free is asked for the search alone.
        decoder, ids = self.target.decoder, self.target.prompts.ids
        for over in dict.fromkeys(over for _, _, over in missing):
            self._check_memory(over, len(bits))
        self._foretell(missing, len(bits))
        copy = decoder.as_float64()
        roundings: dict[str | int, dict[str, Weights]] = {}
        found = {}
        try:
            with self.target.watcher.progress("colliding changes", len(missing)) as advance:
                for done, place in enumerate(missing, 1):
                    layer, (one, two), over = place
                    if over not in roundings:
                        roundings = {
                            over: {str(count): rounding_of(copy, over, count) for count in bits}
                        }
                    change = colliding_change(
                        copy, (ids[one], ids[two]), layer, over, roundings=roundings[over]
                    )
                    # Its tensors are as large as the weights.
                    found[place] = replace(change, change={})
                    advance(done)
        finally:
            release(copy.model)
        return found

    def _foretell(self, missing: Sequence[Place], roundings: int) -> None:
        """Tells of all searches at once, because a phase is told once."""
        pairs = Counter(layer for layer, _, _ in missing)
        # Weights differ by place where each layer's own block may change.
        every = {over for _, _, over in missing}
        over = every.pop() if len(every) == 1 else "block"
        self.target.foretelling.before(
            lambda costs: collision_phase(costs, pairs, over, roundings=roundings)
        )

    def _check_memory(self, over: str | int, roundings: int) -> None:
        needed = self._bytes(over, roundings)
        free = self._float64.free(needed)
        if needed < free:
            return
        others = {repr(one): self._bytes(one, roundings) for one in ("block", "embedding")}
        less = [f"over={one}, {size(count)}" for one, count in others.items() if count < needed]
        raise OptionError(
            f"over={over!r}: the search for a collision takes {size(needed)} and {size(free)} are free:"
            f" give {' or '.join([*less, 'it more memory'])}"
        )

    def _bytes(self, over: str | int, roundings: int) -> int:
        return search_work(self.target.foretelling.sizes, over, roundings).bytes
