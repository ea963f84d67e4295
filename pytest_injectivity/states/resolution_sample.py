"""Chooses on what the resolution of a model is measured (SPEC section 2).

One part of the sample makes the resolution of each coordinate; the radius in these units is measured
on another part. Both cost a share of capturing the prompt set, and no fewer evaluations than a radius
needs. Positions are those from 1 on: single tokens stand for position 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_injectivity.core.shapes import Int64

Ids = tuple[int, ...]

_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """How much is evaluated to measure a resolution.

    Attributes:
        positions: of the whole prompts of the part that makes the resolution of each coordinate, at
            least.
        held_out: likewise of the part that the radius is measured on; each is evaluated in two ways or
            more, so that with the windows there are 2,000 evaluations.
        share: the share of the prompt set's tokens that the first part takes where that is more; the
            second takes twice as much.
        most: positions of either part, at most.
        prompts: whole prompts of either part, at most.
        singles: other tokens that make the scale of position 0; a quarter of a small vocabulary.
        held_out_singles: single tokens that its radius is measured on, where the vocabulary has them.
        windows: short sequences of the first part, which are also run part by part.
        held_out_windows: likewise of the second.
        window: tokens of each.
        exact: windows of the first part that are compared with float64.
    """

    positions: int = 128
    held_out: int = 400
    share: float = 1 / 512
    most: int = 2**13
    prompts: int = 64
    singles: int = 768
    held_out_singles: int = 2048
    windows: int = 16
    held_out_windows: int = 36
    window: int = 16
    exact: int = 4


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
        windows: sequences of one length, at least two tokens, that make the resolution too.
        held_out_windows: likewise for the radius.
        exact: how many of the windows are compared with float64.
    """

    prompts: tuple[Ids, ...]
    held_out: tuple[Ids, ...]
    singles: Ids
    held_out_singles: Ids
    windows: tuple[Ids, ...]
    held_out_windows: tuple[Ids, ...]
    exact: int


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
    window = min(size.window, context or size.window)
    windows, held_out_windows = (
        _windows(part, count, window, generator, pool)
        for part, count in ((own, size.windows), (others, size.held_out_windows))
    )
    return Sample(
        prompts=chosen,
        held_out=held_out,
        singles=tuple(tokens[:singles]),
        held_out_singles=tuple(tokens[singles:]) or tuple(tokens),
        windows=windows,
        held_out_windows=held_out_windows,
        exact=size.exact,
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


def _windows(
    part: Sequence[Sequence[int]],
    count: int,
    length: int,
    generator: np.random.Generator,
    pool: Int64[np.ndarray, " tokens"],
) -> tuple[Ids, ...]:
    """Sequences cut from prompts, one a prompt, and then drawn ones.

    Every second one is the beginning of a prompt, which is what a search inverts first. Prompts often
    begin with the same tokens, so that the others begin at drawn places.
    """
    long = [one for one in part if len(one) >= length][:count]
    starts = [
        int(generator.integers(len(one) - length + 1)) if at % 2 else 0
        for at, one in enumerate(long)
    ]
    found = [
        tuple(int(token) for token in one[start : start + length])
        for one, start in zip(long, starts, strict=True)
    ]
    found += [
        tuple(generator.choice(pool, size=length).tolist()) for _ in range(count - len(found))
    ]
    return tuple(found)
