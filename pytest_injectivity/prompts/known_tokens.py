"""Which rows of a model's embedding are tokens: those that its tokenizer has.

Rows beyond them pad the embedding to a round number and stand in no text.
"""

from typing import Any

import numpy as np

from pytest_injectivity.core.shapes import Int64


def known_tokens(tokenizer: Any, vocab_size: int) -> Int64[np.ndarray, " known"]:
    """The token ids that can stand in a prompt, ascending: those the tokenizer has.

    Args:
        tokenizer: the model's; None: every row of the embedding counts.
        vocab_size: rows of the embedding; a tokenizer may have more.

    Example:
        >>> known_tokens(None, 3).tolist()
        [0, 1, 2]
    """
    if tokenizer is None:
        return np.arange(vocab_size)
    known = {token for token in tokenizer.get_vocab().values() if token < vocab_size}
    return np.array(sorted(known), dtype=np.int64)
