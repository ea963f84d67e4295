"""Sizes that bound the memory and the steps of an inversion: they change its time, no answer."""

from dataclasses import dataclass

CERTIFIED_POSITIONS = 100
"""The most positions of a layer that are certified where no number is given."""


@dataclass(frozen=True)
class InversionLimits:
    """What an inversion may hold and test at once.

    Attributes:
        cached_bytes: keys and values of prompts inverted side by side.
        largest_table: a vocabulary beyond this many tokens costs more at the first position than a few
            prompts cost at all of theirs: it gets no table.
        shortlist: candidates of the first shortlist at a position that no guess settles.
        held_states: elements of a shortlist's states of all prompts that wait at it, each beside those
            of its earlier and shorter ones.
        pool: tokens among which those of the next shortlist are looked for,
        pool_times: or so many times the length of that shortlist.
    """

    cached_bytes: int = 2**29
    largest_table: int = 2**16
    shortlist: int = 16
    held_states: int = 2**25
    pool: int = 2**14
    pool_times: int = 64
