"""Upper bounds of how often random prompts collide, where a sample of prompts showed no collision.

The prompts are independent draws; their pairs are not, so that ``N (N - 1) / 2`` pairs without a
collision prove far less than as many independent pairs would (SPEC section 2, "Intervals"). The
bounds say nothing about challenge sets, whose prompts are chosen to be near each other.
"""

from pytest_injectivity.stats.arguments import check_confidence
from pytest_injectivity.stats.distributions import beta_quantile


def near_collision_rate_bound(n: int, confidence: float = 0.95) -> float:
    """Upper bound of the rate at which random pairs are near, when N independent prompts had none.

    Only ``floor(N/2)`` disjoint pairs are independent: the bound is 6e-3 for N = 1000, not 6e-6.

    Args:
        n: prompts; with fewer than two the bound is 1.
        confidence: of the bound.

    Example:
        >>> round(near_collision_rate_bound(1000), 5)
        0.00597
    """
    check_confidence(confidence)
    return float(1.0 - (1.0 - confidence) ** (1.0 / (n // 2))) if n > 1 else 1.0


def exact_collision_rate_bound(n: int, confidence: float = 0.95) -> float:
    """Upper bound of the rate at which random pairs collide, when N independent prompts had none.

    Colliding exactly is an equivalence relation. Were a class of equal states as likely as ``a``, two
    of N prompts would fall into it but for ``(1-a)^N + N a (1-a)^(N-1)`` of all samples; the bound is
    the ``a^2`` at which that is ``1 - confidence`` (SPEC section 2): 2.24e-5 for N = 1000.

    Args:
        n: prompts; with fewer than two the bound is 1.
        confidence: of the bound.

    Example:
        >>> round(exact_collision_rate_bound(1000), 7)
        2.24e-05
    """
    check_confidence(confidence)
    # P(Binomial(n, a) <= 1) = 1 - confidence is Clopper and Pearson's upper limit for one success.
    a = beta_quantile(confidence, 2, n - 1) if n > 1 else 1.0
    return a * a
