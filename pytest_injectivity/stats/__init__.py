"""What a finite sample of prompts says: quantiles, rates and ratios with intervals, and tests.

Each number here states how far a sample of N prompts can be trusted (SPEC section 2, "Intervals").
Distributions are scipy's (`distributions`); what else is here is what scipy does not have: rows that
are dependent because nearest neighbors are mutual, tokens that are clustered in prompts, a ratio of
two models over the same prompts.
"""

from pytest_injectivity.stats.arguments import check_confidence, check_fraction
from pytest_injectivity.stats.clustered import (
    clustered_mean,
    clustered_quantile,
    clustered_signed_mean,
)
from pytest_injectivity.stats.collision_rates import (
    exact_collision_rate_bound,
    near_collision_rate_bound,
)
from pytest_injectivity.stats.differences import Trials, clustered_difference
from pytest_injectivity.stats.holm import holm
from pytest_injectivity.stats.paired_ratio import PairedRatio, paired_ratio
from pytest_injectivity.stats.quantiles import (
    effective_rows,
    lower_quantile,
    quantile_interval,
    quantile_p_values,
    upper_quantile,
)
from pytest_injectivity.stats.rank_correlation import RankCorrelation, rank_correlation
from pytest_injectivity.stats.rates import clopper_pearson, clustered_rate, rate_p_values

__all__ = [
    "PairedRatio",
    "RankCorrelation",
    "Trials",
    "check_confidence",
    "check_fraction",
    "clopper_pearson",
    "clustered_difference",
    "clustered_mean",
    "clustered_quantile",
    "clustered_rate",
    "clustered_signed_mean",
    "effective_rows",
    "exact_collision_rate_bound",
    "holm",
    "lower_quantile",
    "near_collision_rate_bound",
    "paired_ratio",
    "quantile_interval",
    "quantile_p_values",
    "rank_correlation",
    "rate_p_values",
    "upper_quantile",
]
