"""Holm's correction of several p-values, for a gate that judges several layers at once."""

from collections.abc import Sequence


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise level alpha.

    The smallest of m p-values is held against ``alpha / m``, the next one against
    ``alpha / (m - 1)``, and so on until the first that is larger; a NaN is never rejected.

    Args:
        p_values: one for each hypothesis; of equal ones the first counts as the smaller.
        alpha: the largest probability of rejecting any true hypothesis.

    Example:
        >>> holm([0.01, 0.04, 0.03], alpha=0.05)
        (True, False, False)
    """
    rejected = [False] * len(p_values)
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[index] <= alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return tuple(rejected)
