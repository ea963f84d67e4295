"""Capture in parts: the bits of one process, whatever was done before, and parts of equal length."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.capture import capture
from pytest_injectivity.states.capture_parts import (
    CapturePart,
    capture_in_parts,
    capture_part,
    parts_of,
)
from pytest_injectivity.states.sinks import InMemory
from pytest_injectivity.testing import tiny_decoder
from tests.executors import InTurn
from tests.states.test_capture import LAYERS, some_prompts

TOKENS = 200
SAVING = 32


def cut(
    decoder: Decoder, prompts: Sequence[Sequence[int]], done: dict[Layer, Any], **given: int
) -> tuple[CapturePart, ...]:
    """Parts for two workers, of batches of few tokens."""
    given = {"workers": 2, "row_bytes": 64, "batch_tokens": TOKENS, "least_saving": SAVING} | given
    return parts_of(prompts, done, context=decoder.context, **given)


def nothing(prompts: Sequence[Sequence[int]]) -> dict[Layer, Any]:
    """No row is there yet."""
    return {layer: np.zeros(len(prompts), dtype=bool) for layer in LAYERS}


def job(decoder: Decoder) -> Any:
    """Captures a part in this process."""
    return partial(capture_part, decoder, batch_tokens=TOKENS)


class Unsent(InTurn):
    """Runs parts without pickling the job, which has the model."""

    def map(self, job: Any, parts: Any) -> Any:
        """See `InTurn`."""
        yield from map(job, parts)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_rows_are_those_of_one_process(family: str) -> None:
    """To the last bit, behind a beginning that is shared and without one."""
    decoder, prompts = tiny_decoder(family), some_prompts(60)
    parts = cut(decoder, prompts, nothing(prompts))
    sink, told = InMemory(len(prompts)), []
    progress = lambda finished, total: told.append((finished, total))  # noqa: E731 - two words
    capture_in_parts(Unsent(), job(decoder), parts, sink, total=60, progress=progress)
    alone = capture(decoder, prompts, LAYERS, batch_tokens=TOKENS, least_saving=SAVING)
    assert len(parts) > 3
    assert any(group.shared for part in parts for group, _ in part.batches)
    assert set(LAYERS) == set(sink.rows)
    assert all(torch.equal(sink.rows[layer], alone.rows[layer]) for layer in LAYERS)
    assert (60, 60) == told[-1]


def test_every_prompt_is_in_one_part() -> None:
    """Each with its own ids."""
    prompts = some_prompts(60)
    parts = cut(tiny_decoder("gpt2"), prompts, nothing(prompts))
    placed = [
        (row, ids) for part in parts for row, ids in zip(part.rows, part.prompts, strict=True)
    ]
    assert [(row, tuple(ids)) for row, ids in enumerate(prompts)] == sorted(placed)


def test_what_is_done_is_left_out() -> None:
    """Batches that are complete are in no part; the layers of others are captured where missing."""
    decoder, prompts = tiny_decoder("gpt2"), some_prompts(60)
    whole = cut(decoder, prompts, nothing(prompts))
    done = nothing(prompts)
    for layer in LAYERS:
        done[layer][list(whole[0].rows)] = True
    done[1][list(whole[1].rows)] = True
    parts = cut(decoder, prompts, done)
    taken: list[tuple[list[int], set[Layer]]] = []
    sink = InMemory(len(prompts))
    sink.take = lambda rows, states: taken.append((list(rows), set(states)))  # type: ignore[method-assign]
    capture_in_parts(Unsent(), job(decoder), parts, sink, total=60)
    second = set(whole[1].rows)
    assert {row for part in whole[1:] for row in part.rows} == {
        r for rows, _ in taken for r in rows
    }
    assert {frozenset(layers) for rows, layers in taken if second & set(rows)} == {
        frozenset(LAYERS) - {1}
    }


def test_nothing_to_do_is_no_part() -> None:
    """Where all rows are there."""
    prompts = some_prompts(9)
    done = {layer: np.ones(9, dtype=bool) for layer in LAYERS}
    assert () == cut(tiny_decoder("gpt2"), prompts, done)


def test_parts_have_about_as_many_tokens() -> None:
    """Eight for each worker, where there are batches enough."""
    prompts = [[at % 60, at // 60, *range(at % 7)] for at in range(2000)]
    parts = cut(tiny_decoder("gpt2"), prompts, nothing(prompts), batch_tokens=64)
    tokens = [sum(map(len, part.prompts)) for part in parts]
    assert 14 <= len(parts) <= 18
    assert max(tokens[:-1]) < 2 * min(tokens[:-1])


def test_parts_have_few_rows() -> None:
    """Where rows are wide: they are in memory as they travel."""
    prompts = [[at % 60, at // 60] for at in range(500)]
    few = cut(tiny_decoder("gpt2"), prompts, nothing(prompts), row_bytes=2**20)
    assert max(len(part.rows) for part in few) <= 16 + 25


def test_a_long_beginning_is_not_run_for_every_batch() -> None:
    """A part computes eight times as many tokens behind it, or all that there are."""
    beginning = list(range(48))
    prompts = [[*beginning, at % 60, at // 60] for at in range(600)]
    parts = cut(tiny_decoder("gpt2"), prompts, nothing(prompts), batch_tokens=500)
    behind = [
        sum(one.height * one.width for one in batches)
        for part in parts
        for group, batches in part.batches
        if group.shared
    ]
    assert len(behind) > 2
    assert min(behind[:-1]) >= 8 * 48


def test_what_workers_say_is_said_once() -> None:
    """Each worker runs out of memory by itself, and at the same batch."""
    prompts = some_prompts(60)
    decoder = tiny_decoder("gpt2")
    told: list[str] = []

    def full(part: CapturePart) -> Any:
        captured = capture_part(decoder, part, TOKENS)
        return type(captured)(captured.rows, captured.taken, ("out of memory",))

    parts = cut(decoder, prompts, nothing(prompts))
    capture_in_parts(Unsent(), full, parts, InMemory(60), total=60, announce=told.append)
    assert ["out of memory"] == told
