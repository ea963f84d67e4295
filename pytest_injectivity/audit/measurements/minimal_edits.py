"""Ratios of minimal edits: how far a state moves when one token of its prompt is changed.

Any two prompts are joined by a path of single edits, so the upper Lipschitz constant over all prompts
(SPEC section 2) is attained at edit distance 1. A natural prompt set has no such pairs, so this
module makes them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.ratios import Ratios
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.edits import one_token_changed
from pytest_injectivity.prompts.known_tokens import known_tokens
from pytest_injectivity.prompts.metrics import PromptMetric
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.states.capture import capture

_SAMPLE = 256


def edit_ratios(
    decoder: Decoder, prompts: PromptSet, metric: PromptMetric, layers: Sequence[Layer], seed: int
) -> dict[Layer, Ratios]:
    """``||F(s) - F(s')|| / d_S(s, s')`` for a sample of prompts s, each with one changed token.

    Args:
        decoder: the model.
        prompts: the sample is its 256 prompts of smallest hash, or all where there are fewer.
        metric: the prompt metric: one edit is 1, or 1 over the length.
        layers: the layers measured.
        seed: draws the places and tokens.
    """
    sample = prompts.subset(min(_SAMPLE, len(prompts)))
    # Each prompt has a generator of its own, seeded by its hash, so that their order does not matter.
    known = known_tokens(decoder.tokenizer, decoder.vocab_size)
    edited = [
        one_token_changed(ids, known, np.random.default_rng([seed, int(digest, 16)]))
        for ids, digest in zip(sample.ids, sample.hashes, strict=True)
    ]
    both = capture(decoder, [*sample.ids, *edited], layers, share_prefixes=False)
    left = torch.arange(len(sample))
    edit = 1.0 / sample.lengths if metric.per_length else np.ones(len(sample))
    return {
        layer: Ratios(
            pair_distances(both.rows[layer], left, left + len(sample)).numpy() / edit,
            np.arange(len(sample)) + len(sample),
            len(sample),
        )
        for layer in layers
    }
