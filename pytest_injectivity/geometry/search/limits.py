"""Sizes that bound the memory and the steps of an exact search: they change its time, never a number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchLimits:
    """What a search looks at and holds at once.

    Attributes:
        tile_rows, tile_columns: of a block of products, multiples of 32; 16 MB of float32 by default,
            because blocks of 32 MB come fresh from the system each time, page by page.
        chunk_elements: of a float64 copy of some rows.
        part_pairs: pairs in a part of a search, after which it is remembered; a few seconds of work.
        shared_work: multiplications, half the square of the rows times their width, from which on a
            search is shared among workers.
        sample: rows by which a first bound of every row's distance is found, at least.
        candidates: a row that keeps more of them is searched again in float64.
        held: candidates of all rows together, beyond which those out of reach are dropped.
        again_elements: of the block of float64 products that rows are searched again by.
        first_look: pairs of a row whose prompt distance is computed first; then twice as many each time.
        ratio_sample: of the longest prompts, among which each row finds a first ratio.
        axes: directions along which the closest pair is looked for.
        few_rows: up to so many rows, directions cost more than the products that they would spare.
        few_pairs: up to so many pairs of rows, all of them are looked at without a search.
        few_near: share of pairs that the directions may leave; a direct look costs as much as a thousand
            entries of a product.
        per_look: entries of a product that cost as much as a candidate of the sorted projections.
        many_near: near pairs a row beyond which they are counted, not looked at.
        open_pairs: share of pairs left open by float32 products beyond which float64 ones cost less.
        distance_sample: rows whose distances from each other say about how far pairs are apart.
        pairs_together: candidates of the sorted projections that are looked at together.
    """

    tile_rows: int = 1024
    tile_columns: int = 4096
    chunk_elements: int = 2**20
    part_pairs: int = 5 * 10**8
    shared_work: int = 10**11
    sample: int = 1024
    candidates: int = 512
    held: int = 2**23
    again_elements: int = 2**22
    first_look: int = 4
    ratio_sample: int = 256
    axes: int = 32
    few_rows: int = 8192
    few_pairs: int = 4096
    few_near: float = 1e-3
    per_look: float = 16.0
    many_near: float = 64.0
    open_pairs: float = 1e-3
    distance_sample: int = 256
    pairs_together: int = 2**21


DEFAULT_LIMITS = SearchLimits()
