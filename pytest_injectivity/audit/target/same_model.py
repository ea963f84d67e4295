"""Whether two targets hold the same model, loaded the same way."""

from pytest_injectivity.audit.keys import WeightDigestKey
from pytest_injectivity.audit.target.target import Target


def is_same_model(one: Target, other: Target) -> bool:
    """Whether two models are one, whatever files and configuration they come from: of equal weights.

    Rows of the vocabulary that only one of them has make it no other model.

    Args:
        one: a target.
        other: another one.
    """
    facts, others = one.facts, other.facts
    if (facts.dtype, one.rounded) != (others.dtype, other.rounded):
        return False
    if one.kept.loaded == other.kept.loaded:
        return True
    samples = facts.weights_sample, others.weights_sample
    sizes = facts.vocab_size, others.vocab_size
    if "" in samples or (sizes[0] == sizes[1] and samples[0] != samples[1]):
        return False
    return weights_digest(one, min(sizes)) == weights_digest(other, min(sizes))


def weights_digest(target: Target, rows: int) -> str:
    """The digest of all numbers of a model's weights as they were loaded; loads them.

    Args:
        target: whose model.
        rows: of its vocabulary, the first alone that are read.

    Raises:
        ModelError: it cannot be loaded.
    """
    from pytest_injectivity.models.weight_digest import WeightDigest

    def compute() -> WeightDigest:
        decoder = target.unrounded
        stored = None if decoder.streamed is None else decoder.streamed.disk.tensor
        return WeightDigest.of(decoder.model, rows=rows, stored=stored)

    return target.kept.model.remember(WeightDigestKey(rows), compute).text
