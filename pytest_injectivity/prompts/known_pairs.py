"""Distances of pairs of prompts that were computed before, in a table of fixed size.

All layers of a model are searched over the same prompts, and two layers ask for half of their pairs
both. A pair has one place in the table, found by a hash of its two prompts; where two pairs have the
same place, the later one is kept. So the table never grows, and both looking up and keeping are a few
operations on whole arrays.
"""

import numpy as np

from pytest_injectivity.core.shapes import Bool, Float64, Int64

# A search looks at some six pairs a row. Past 2^21 places (32 MB) a table no longer pays for itself:
# the rows of so large sets are rarely the same from layer to layer.
_PLACES_A_PROMPT = 32
_MOST_PLACES = 2**21
# An odd number that scatters the bits of what it multiplies (Knuth, section 6.4).
_SCATTER = np.uint64(0x9E3779B97F4A7C15)


class KnownPairs:
    """Distances by pair of prompts. Not for several threads at a time.

    Args:
        prompts: how many there are.
        places: of the table, rounded up to a power of two; by default some for each prompt.
    """

    def __init__(self, prompts: int, places: int | None = None) -> None:
        asked = min(_PLACES_A_PROMPT * prompts, _MOST_PLACES) if places is None else places
        self._bits = max(1, (asked - 1).bit_length())
        self._prompts = prompts
        # No pair has the name -1.
        self._names = np.full(2**self._bits, -1, np.int64)
        self._distances = np.zeros(2**self._bits)

    def __reduce__(self) -> tuple[type["KnownPairs"], tuple[int, int]]:
        """Another process begins with an empty table."""
        return KnownPairs, (self._prompts, 2**self._bits)

    def names(
        self, left: Int64[np.ndarray, " pairs"], right: Int64[np.ndarray, " pairs"]
    ) -> Int64[np.ndarray, " pairs"]:
        """A number for each pair, the same whichever side comes first."""
        names: Int64[np.ndarray, " pairs"] = np.minimum(left, right) * self._prompts
        names += np.maximum(left, right)
        return names

    def look_up(
        self, names: Int64[np.ndarray, " pairs"]
    ) -> tuple[Bool[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
        """Which pairs are known, and their distances; what stands for the others means nothing."""
        places = self._places(names)
        return self._names[places] == names, self._distances[places]

    def keep(
        self, names: Int64[np.ndarray, " pairs"], distances: Float64[np.ndarray, " pairs"]
    ) -> None:
        """Keep the distances of some pairs, in the place of others that the table held there."""
        places = self._places(names)
        self._names[places] = names
        # Of several pairs with one place the last one's name stands there now, and so must its distance.
        own = self._names[places] == names
        self._distances[places[own]] = distances[own]

    def _places(self, names: Int64[np.ndarray, " pairs"]) -> Int64[np.ndarray, " pairs"]:
        scattered = names.astype(np.uint64) * _SCATTER
        return (scattered >> np.uint64(64 - self._bits)).astype(np.int64)
