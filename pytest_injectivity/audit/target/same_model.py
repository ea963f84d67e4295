"""Whether two targets hold the same model, loaded the same way."""

from pytest_injectivity.audit.keys import WeightDigestKey
from pytest_injectivity.audit.target.target import Target


def is_same_model(one: Target, other: Target) -> bool:
    """Whether two models are one, whatever files and configuration they come from: of equal weights.

    Args:
        one: a target.
        other: another one.
    """
    facts, others = one.facts, other.facts
    if (facts.dtype, one.rounded) != (others.dtype, other.rounded):
        return False
    if one.kept.loaded == other.kept.loaded:
        return True
    same_sample = facts.weights_sample != "" and facts.weights_sample == others.weights_sample
    return same_sample and weights_digest(one) == weights_digest(other)


def weights_digest(target: Target) -> str:
    """The digest of all numbers of a model's weights as they were loaded; loads them.

    Args:
        target: whose model.

    Raises:
        ModelError: it cannot be loaded.
    """
    from pytest_injectivity.models.weight_digest import WeightDigest

    return target.kept.model.remember(
        WeightDigestKey(), lambda: WeightDigest.of(target.unrounded.model)
    ).text
