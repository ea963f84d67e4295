"""The forward passes of a capture, counted without running one."""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_injectivity.states.batches import plan_batches
from pytest_injectivity.states.shared_prefixes import group_by_prefix


@dataclass(frozen=True)
class Passes:
    """Forward passes.

    Attributes:
        count: how many.
        tokens: that go through the model, padding included.
    """

    count: int
    tokens: int


def capture_passes(
    prompts: Sequence[Sequence[int]], *, batch_tokens: int, context: int | None
) -> Passes:
    """The passes that `states.capture.capture` makes where memory allows them.

    Args:
        prompts: token ids.
        batch_tokens: tokens of one pass.
        context: the longest prompt accepted.
    """
    count = tokens = 0
    for group in group_by_prefix(prompts):
        shared = len(group.shared)
        batches = plan_batches(
            [len(prompts[row]) - shared for row in group.rows],
            batch_tokens=batch_tokens,
            context=context,
            prefix=shared,
        )
        count += len(batches) + bool(shared)
        tokens += shared + sum(batch.height * batch.width for batch in batches)
    return Passes(count, tokens)
