"""How many bits of a token an attacker's order of guesses shows that it has: a lower bound.

Whoever has what an attacker has, its order of all tokens among it, and is told the place of the true
token in this order, knows the token. So the mutual information of a token ``X`` and all that the
attacker has, ``Y``, is no less than the token's entropy less that of the place ``R``::

    H(X | Y) <= H(R | Y) <= H(R),   I(X; Y) = H(X) - H(X | Y) >= H(X) - H(R)

Both entropies are estimated so that, on average, the bound is too small. ``H(X)`` is that of the tokens
as often as the prompts have them; it is at most the logarithm of their number. ``H(R)`` is the length of
a code, ``-log2 q(r)``, which is no less than the entropy whatever ``q`` is. Here ``q`` counts the places
of all OTHER prompts in groups of 1, 2, 3 to 4, 5 to 8, ..., with half a count more in each (Krichevsky
and Trofimov, 1981), and is even within a group.

Teacher-forced, the tokens before are a part of ``Y``: what a language says of the next token is counted.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pytest_injectivity.core.shapes import Bool, Float64, Int64

_LEFT_OUT = -1


def token_bits(
    tokens: Int64[np.ndarray, "prompts tokens"],
    ranks: Int64[np.ndarray, "prompts tokens"],
    left_out: Bool[np.ndarray, "prompts tokens"],
    asked: Bool[np.ndarray, "prompts tokens"],
    vocab: int,
) -> tuple[Float64[np.ndarray, " prompts"], Float64[np.ndarray, " prompts"]]:
    """For each prompt the sum of ``-log2 p(x)`` of its tokens, and of ``-log2 q(r)`` of their places.

    Args:
        tokens: the true tokens.
        ranks: the place of each in the attacker's order.
        left_out: where the true token was not compared: it may have any place behind the others.
        asked: which tokens are counted.
        vocab: the number of tokens.
    """
    surprise = np.zeros(tokens.shape)
    _, kind, count = np.unique(tokens[asked], return_inverse=True, return_counts=True)
    surprise[asked] = -np.log2(count[kind] / len(kind))
    places = np.clip(ranks, 1, vocab)
    groups = np.where(left_out, _LEFT_OUT, np.ceil(np.log2(places)).astype(np.int64))
    length = np.zeros(tokens.shape)
    # The last group is of the tokens that were not compared.
    sizes = [*_sizes(vocab), vocab]
    counts = np.stack(
        [
            np.bincount(own[some] % len(sizes), minlength=len(sizes))
            for own, some in zip(groups, asked, strict=True)
        ]
    )
    for prompt, some in enumerate(asked):
        others = counts.sum(axis=0) - counts[prompt] + 0.5
        code = -np.log2(others / others.sum() / np.array(sizes))
        length[prompt, some] = code[groups[prompt][some]]
    return surprise.sum(axis=1), length.sum(axis=1)


def _sizes(vocab: int) -> Sequence[int]:
    """How many places the groups 1, 2, 3 to 4, ... have."""
    ends = [min(vocab, 2**power) for power in range(math.ceil(math.log2(max(2, vocab))) + 1)]
    return [1, *(high - low for low, high in pairwise(ends))]
