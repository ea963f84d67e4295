"""The next-token distributions of a model and its parent over the same prompts (SPEC section 7).

Both read the prompts' own tokens (teacher forcing). At each position the parent's distribution is
compared with the model's by ``KL(parent || model)`` in nats, and by the tokens that either prefers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float64, Int64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.divergence import Divergence, compare_logits
from pytest_injectivity.models.head import Head
from pytest_injectivity.states.batches import Batch, plan_batches

LOGITS = 2**22
"""Default bound of the logits of either model that are held at once.

The logits of both, and the models' own steps to them, take up to 24 bytes for each (measured: 16 in
float32, 22 in bfloat16): 100 MB beside the models, whatever the vocabulary is.
"""

_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class NextTokens:
    """The comparison of two models' next-token distributions, one number a position in each field.

    Attributes:
        prompt: the index of the prompt.
        position: the index of the last token read.
        nats: ``KL(parent || model)``; NaN where a model has no distribution, infinite where the model
            gives probability 0 to what the parent may say.
        agreed: whether both prefer the same token.
        elsewhere: the model's probability of ids that the parent does not have.
        lost, parents_lost: whether the model, or its parent, has no distribution: a logit is NaN or
            plus infinity.
        narrow: the dtype that a model's logits are rounded to where it has 16 bits or fewer; else
            empty.
    """

    prompt: Int64[np.ndarray, " positions"]
    position: Int64[np.ndarray, " positions"]
    nats: Float64[np.ndarray, " positions"]
    agreed: Bool[np.ndarray, " positions"]
    elsewhere: Float64[np.ndarray, " positions"]
    lost: Bool[np.ndarray, " positions"]
    parents_lost: Bool[np.ndarray, " positions"]
    narrow: str = ""


def judged_positions(length: int, *, second_half: bool = False) -> range:
    """The positions of a prompt after which next tokens are compared.

    Args:
        length: tokens of the prompt.
        second_half: those of llama.cpp's perplexity tool, whose first half of a window is context and
            whose last position has no next token to score; else all but the first, whose state many
            models use as a sink.

    Example:
        >>> list(judged_positions(6)), list(judged_positions(6, second_half=True))
        ([1, 2, 3, 4, 5], [3, 4])
    """
    return range(length // 2, length - 1) if second_half else range(1, length)


def compare_next_tokens(
    model: Decoder,
    parent: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    second_half: bool = False,
    most_logits: int = LOGITS,
    progress: Callable[[int], None] | None = None,
) -> NextTokens:
    """Compare the next-token distributions of two models that are both in memory.

    Args:
        model: the model judged.
        parent: its parent.
        prompts: token ids, as many of each as are to be read; at least one prompt has a position.
        second_half: see `judged_positions`.
        most_logits: bound of the logits of either model held at once; one position at least.
        progress: called with the number of prompts done.

    Returns:
        The positions of the prompts, in their order.

    Raises:
        PromptError: an id is not below the vocabulary, or a prompt exceeds the context.

    Example:
        >>> found = compare_next_tokens(audit.decoder, audit.decoder, [[1, 2, 3]])
        >>> found.position.tolist(), found.nats.tolist(), found.agreed.tolist()
        ([1, 2], [0.0, 0.0], [True, True])
    """
    heads = Head(parent), Head(model)
    step = max(1, most_logits // max(head.vocab_size for head in heads))
    contexts = [one.context for one in (model, parent) if one.context is not None]
    batches = plan_batches(
        [len(ids) for ids in prompts],
        batch_tokens=_BATCH_TOKENS,
        context=min(contexts, default=None),
    )
    places, found, done = [], [], 0
    for batch in batches:
        for at, divergence in _compare_batch(heads, batch, prompts, step, second_half=second_half):
            places.append(at)
            found.append(divergence)
        done += len(batch.rows)
        if progress is not None:
            progress(done)
    return _in_order(
        torch.cat(places), found, next((one.narrow for one in heads if one.narrow), "")
    )


def _compare_batch(
    heads: tuple[Head, Head],
    batch: Batch,
    prompts: Sequence[Sequence[int]],
    step: int,
    *,
    second_half: bool,
) -> Iterator[tuple[Int64[Tensor, "positions 2"], Divergence]]:
    """The prompts and positions of a batch, some at a time, with what is found at them."""
    judged = [
        (row, position)
        for row, prompt in enumerate(batch.rows)
        for position in judged_positions(len(prompts[prompt]), second_half=second_half)
    ]
    if not judged:
        return
    ids = batch.ids(prompts)
    states = [head.decoder.states(ids, ["norm"])["norm"] for head in heads]
    numbers = torch.tensor(batch.rows)
    for some in torch.split(torch.tensor(judged), step):
        row, position = some.unbind(dim=1)
        theirs, own = (
            head.logits(of[row.to(of.device), position.to(of.device)])
            for head, of in zip(heads, states, strict=True)
        )
        yield torch.stack([numbers[row], position], dim=1), compare_logits(theirs, own)


def _in_order(
    places: Int64[Tensor, "positions 2"], found: Sequence[Divergence], narrow: str
) -> NextTokens:
    """The divergences of all batches in the order of prompts and positions."""
    prompt, position = places.numpy().T
    order = np.lexsort((position, prompt))

    def joined(name: str) -> np.ndarray:
        return np.asarray(torch.cat([getattr(one, name) for one in found]).numpy()[order])

    return NextTokens(
        prompt=prompt[order],
        position=position[order],
        nats=joined("nats"),
        agreed=joined("agreed"),
        elsewhere=joined("elsewhere"),
        lost=joined("second_lost"),
        parents_lost=joined("first_lost"),
        narrow=narrow,
    )
