"""The trend of a layer's numbers as prompts are added (SPEC section 2, "Intervals").

Minima and low quantiles of nearest-neighbor distances fall as N grows, so a gate that holds at
1,000 prompts says little of 100,000. The same numbers over the quarter and the half of the prompts with
the smallest hashes show how fast. Their rows are among those of the whole set, so that no further states
are captured.
"""

from collections.abc import Sequence

import numpy as np

from pytest_injectivity.geometry.layer import LayerGeometry
from pytest_injectivity.results.summary import Fall, Trend
from pytest_injectivity.stats import lower_quantile

_FEWEST = 40
_Q = 0.01


def measure_trend(geometry: LayerGeometry, hashes: Sequence[str]) -> Trend:
    """Margin and co-Lipschitz constant over N/4, N/2 and N finite rows, exactly.

    Each subset needs a search of its own, which costs 1/16 and 1/4 of the whole set's.

    Args:
        geometry: the geometry of the whole set.
        hashes: the hashes of its prompts, of those with lost rows too.
    """
    n = len(geometry)
    if n < _FEWEST:
        return Trend((), reason=f"{n} finite rows: a trend needs at least {_FEWEST}")
    by_hash = sorted(range(n), key=lambda row: hashes[int(geometry.prompt_of[row])])
    sizes = (n // 4, n // 2, n)
    # In the set's own order, as `PromptSet.subset` has them.
    sets = [*(geometry.take(np.sort(by_hash[:size])) for size in sizes[:2]), geometry]
    margin, margin_q = ([one.margin(q) for one in sets] for q in (0.0, _Q))
    ratios = [one.colipschitz_rows for one in sets]
    partnered = [one.ratio[one.partnered] for one in ratios]
    alone = min(map(len, partnered)) < 2  # noqa: PLR2004 - a quantile of one row says nothing
    if alone:
        colipschitz = colipschitz_q = None
    else:
        colipschitz, colipschitz_q = (
            Fall.of(sizes, [lower_quantile(values, q) for values in partnered]) for q in (0.0, _Q)
        )
    return Trend(
        n=sizes,
        margin=Fall.of(sizes, margin),
        margin_q=Fall.of(sizes, margin_q),
        colipschitz=colipschitz,
        colipschitz_q=colipschitz_q,
        reason="fewer than two prompts of a set have an admissible partner" if alone else "",
    )
