"""Chooses on what the resolution of a model is measured (SPEC section 2).

One part of the sample makes the resolution of each coordinate; the radius in these units is measured
on another part. Both cost a share of capturing the prompt set, and no fewer evaluations than a radius
needs. Positions are those from 1 on: single tokens stand for position 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Ids = tuple[int, ...]

_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """How much is evaluated to measure a resolution.

    Attributes:
        positions: of the part that makes the resolution of each coordinate, at least.
        held_out: positions of the part that the radius is measured on, at least; each is evaluated in
            three ways or more, so that there are 2,000 evaluations.
        share: the share of the prompt set's tokens that the first part takes where that is more; the
            second takes twice as much.
        most: positions of either part, at most.
        prompts: whole prompts of either part, at most.
        singles: other tokens that make the scale of position 0; a quarter of a small vocabulary.
        held_out_singles: single tokens that its radius is measured on, where the vocabulary has them.
        exact: positions compared with float64, at least.
        lone: passes of one token behind a cached prefix, of each way that takes such passes.
    """

    positions: int = 192
    held_out: int = 672
    share: float = 1 / 256
    most: int = 2**13
    prompts: int = 64
    singles: int = 768
    held_out_singles: int = 2048
    exact: int = 64
    lone: int = 12


DEFAULT_SIZE = SampleSize()


@dataclass(frozen=True)
class Sample:
    """What is evaluated.

    Attributes:
        prompts: make the resolution of each coordinate; at least two tokens each, where the context
            window has two.
        held_out: measure the radius in these units; likewise.
        singles: tokens put first, that make the resolution at position 0.
        held_out_singles: tokens put first, that measure the radius there.
        exact: how many of the prompts are compared with float64.
        lone: passes of one token behind a cached prefix, of each way that takes such passes.
    """

    prompts: tuple[Ids, ...]
    held_out: tuple[Ids, ...]
    singles: Ids
    held_out_singles: Ids
    exact: int
    lone: int = SampleSize.lone


def choose_sample(
    prompts: Sequence[Sequence[int]],
    vocab_size: int,
    context: int | None,
    *,
    size: SampleSize = DEFAULT_SIZE,
    seed: int = 0,
) -> Sample:
    """Chooses a sample from prompts in a given order; the same input gives the same sample.

    Where the prompts of two tokens or more do not fill a part, sequences of tokens drawn from all
    prompts do.

    Args:
        prompts: token ids, at least one prompt, those preferred first.
        vocab_size: single tokens are drawn from all of the vocabulary.
        context: the model's context window.
        size: how much.
        seed: of the draws.

    Example:
        >>> sample = choose_sample([[1, 2, 3], [4, 5]], vocab_size=16, context=8)
        >>> sample.prompts[0], len(sample.singles), len(sample.held_out_singles)
        ((1, 2, 3), 4, 12)
    """
    generator = np.random.default_rng(seed)
    total = sum(map(len, prompts))
    wanted = [
        min(size.most, max(least, round(share * total)))
        for least, share in ((size.positions, size.share), (size.held_out, 2 * size.share))
    ]
    pool = np.concatenate([np.asarray(one, dtype=np.int64) for one in prompts])
    # Parts take turns, so that a small set serves both.
    long = [one for one in prompts if len(one) > 1]
    own, others = long[::2], long[1::2]
    length = min(_CHUNK, context or _CHUNK)
    chosen, held_out = (
        _filled(part[: size.prompts], tokens, lambda: generator.choice(pool, size=length).tolist())
        for part, tokens in zip((own, others), wanted, strict=True)
    )
    tokens = generator.permutation(vocab_size)[: size.singles + size.held_out_singles].tolist()
    singles = max(1, min(len(tokens) // 4, size.singles))
    return Sample(
        prompts=chosen,
        held_out=held_out,
        singles=tuple(tokens[:singles]),
        held_out_singles=tuple(tokens[singles:]) or tuple(tokens),
        exact=_enough(chosen, size.exact),
        lone=size.lone,
    )


def _filled(
    part: Sequence[Sequence[int]], positions: int, draw: Callable[[], list[int]]
) -> tuple[Ids, ...]:
    """Prompts of a part up to so many positions, the last one cut, and then drawn ones."""
    found: list[Ids] = []
    left = positions
    for one in part:
        if left <= 0:
            break
        found.append(tuple(int(token) for token in one[: left + 1]))
        left -= len(found[-1]) - 1
    while left > 0:
        found.append(tuple(draw()))
        left -= max(len(found[-1]) - 1, 1)
    return tuple(found)


def _enough(prompts: Sequence[Ids], positions: int) -> int:
    """How many of the prompts have so many positions together."""
    most = next((at for at in range(len(prompts)) if sum(map(len, prompts[:at])) >= positions), 0)
    return most or len(prompts)
