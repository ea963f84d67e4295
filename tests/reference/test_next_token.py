"""Two models' next tokens: llama.cpp's numbers, canonical order, and a bound on memory."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.next_token import (
    NextTokens,
    compare_next_tokens,
    judged_positions,
)
from pytest_injectivity.testing import round_weights, tiny_decoder

PROMPTS = [[(7 * row + at * at) % 64 for at in range(3 + 5 * row)] for row in range(8)]


def _pair(family: str = "llama", **settings: Any) -> tuple[Decoder, Decoder]:
    """A model in 4 bits and its parent."""
    child, parent = tiny_decoder(family, **settings), tiny_decoder(family, **settings)
    return round_weights(child, 4), parent


def _llama_cpp(
    child: Decoder, parent: Decoder, prompts: list[list[int]]
) -> tuple[np.ndarray, float]:
    """The divergences and the share of equal top tokens, as llama.cpp's perplexity tool has them.

    Written for this test alone: one prompt at a time, the library's own logits, numpy in float64.
    """
    divergences, same = [], []
    for ids in prompts:
        with torch.no_grad():
            child_rows, parent_rows = (
                one.model(torch.tensor([ids])).logits[0].numpy().astype(np.float64)
                for one in (child, parent)
            )
        for position in range(len(ids) // 2, len(ids) - 1):
            p, q = parent_rows[position], child_rows[position]
            p = p - p.max() - np.log(np.exp(p - p.max()).sum())
            q = q - q.max() - np.log(np.exp(q - q.max()).sum())
            divergences.append(float((np.exp(p) * (p - q)).sum()))
            same.append(p.argmax() == q.argmax())
    return np.array(divergences), float(np.mean(same))


def _percentile(values: np.ndarray, fraction: float) -> float:
    """llama.cpp's percentile of sorted numbers: linear between the two next to it."""
    ordered = sorted(values.tolist())
    place = fraction * (len(ordered) - 1)
    low = int(place)
    share = place - low
    return (1 - share) * ordered[low] + share * ordered[min(low + 1, len(ordered) - 1)]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_llama_cpps_numbers_are_reproduced(family: str) -> None:
    """Mean KL, its 99 % and 99.9 % quantile, its maximum and the same top token, to 1e-6."""
    child, parent = _pair(family)
    found = compare_next_tokens(child, parent, PROMPTS, second_half=True)
    expected, same = _llama_cpp(child, parent, PROMPTS)
    assert len(expected) > 50
    assert expected.mean() > 1e-3
    assert expected == pytest.approx(found.nats, abs=1e-6)
    for fraction in (0.99, 0.999, 1.0):
        assert _percentile(expected, fraction) == pytest.approx(
            float(np.quantile(found.nats, fraction)), abs=1e-6
        )
    assert same == found.agreed.mean()
    assert 0.5 < same < 1.0


def test_every_position_but_the_first_is_compared() -> None:
    """In the order of prompts and positions, whatever shares a batch."""
    child, parent = _pair()
    found = compare_next_tokens(child, parent, PROMPTS)
    expected = [(row, at) for row, ids in enumerate(PROMPTS) for at in range(1, len(ids))]
    assert expected == list(zip(found.prompt.tolist(), found.position.tolist(), strict=True))
    alone = [compare_next_tokens(child, parent, [ids]).nats for ids in PROMPTS]
    assert np.concatenate(alone) == pytest.approx(found.nats, abs=1e-6)


def test_windows_of_llama_cpp_leave_out_what_has_no_next_token() -> None:
    """The first half is context, the last position has nothing after it."""
    assert [256, 510] == [judged_positions(512, second_half=True)[at] for at in (0, -1)]
    assert [1, 511] == [judged_positions(512)[at] for at in (0, -1)]
    assert not judged_positions(2, second_half=True)
    assert not judged_positions(1)


def test_numbers_do_not_depend_on_how_many_logits_are_held() -> None:
    """Only memory does."""
    child, parent = _pair()
    whole = compare_next_tokens(child, parent, PROMPTS)
    few = compare_next_tokens(child, parent, PROMPTS, most_logits=64)
    assert whole.nats == pytest.approx(few.nats, abs=1e-6)
    assert (whole.agreed == few.agreed).all()


def test_a_padded_vocabulary_is_compared_over_the_ids_of_both() -> None:
    """What the model gives to the ids beyond is told; equal rows of both do not diverge.

    Where it prefers one of the ids beyond, both do not agree.
    """
    parent = tiny_decoder("llama")
    child = tiny_decoder("llama", vocab=80)
    models: Any = (child.model, parent.model)
    weights = dict(models[1].named_parameters())
    for name, own in models[0].named_parameters():
        own[: len(weights[name])] = weights[name]
    found = compare_next_tokens(child, parent, PROMPTS)
    assert found.nats.max() < 1e-9
    logits = [child.next_token_logits(torch.tensor(ids)) for ids in PROMPTS if len(ids) > 1]
    last = np.flatnonzero(np.diff(found.prompt, append=-1))
    assert [int(one.argmax()) < 64 for one in logits] == found.agreed[last].tolist()
    assert 0.01 < found.elsewhere.min() < found.elsewhere.max() < 1.0
    back = compare_next_tokens(parent, child, PROMPTS)
    assert back.nats.max() < 1e-9
    assert 0.0 == back.elsewhere.max()


def test_the_work_done_is_told() -> None:
    """In prompts, up to all of them; those too short are among them."""
    child, parent = _pair()
    told: list[int] = []
    compare_next_tokens(child, parent, [*PROMPTS, [1]], progress=told.append)
    assert told == sorted(told)
    assert 9 == told[-1]


def test_a_broken_head_is_told_by_position() -> None:
    """Whose logits are no numbers, and where."""
    child, parent = _pair()
    model: Any = child.model
    model.lm_head.weight[3] = torch.nan
    found = compare_next_tokens(child, parent, PROMPTS)
    assert found.lost.all()
    assert not found.parents_lost.any()
    assert np.isnan(found.nats).all()
    back = compare_next_tokens(parent, child, PROMPTS)
    assert back.parents_lost.all()


class _Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, of those made since it was entered."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {
            leaf.untyped_storage().data_ptr()
            for leaf in tree_leaves((args, kwargs or {}))
            if isinstance(leaf, torch.Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._take(leaf, before)
        return out

    def _take(self, leaf: torch.Tensor, before: set[int]) -> None:
        storage = leaf.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place in before or place in self._known or not size:
            return
        self._known.add(place)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._free, place, size)

    def _free(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.bytes -= size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_does_not_grow_with_the_vocabulary(dtype: torch.dtype) -> None:
    """262,144 ids, 40 positions: 24 bytes for each logit held, and 16 MB for a row's steps."""
    child, parent = (
        tiny_decoder("llama", vocab=262_144, hidden=8, layers=1, seed=seed, dtype=dtype)
        for seed in (0, 1)
    )
    most = 2 * 262_144
    with _Live() as live:
        found: NextTokens = compare_next_tokens(
            child, parent, [list(range(21)), list(range(21, 42))], most_logits=most
        )
    assert 40 == len(found.nats)
    # All logits of both, as a pass over whole prompts has them, would be more.
    assert most * 8 < live.peak <= most * 24 + 2**24 < 2 * 40 * 262_144 * 4
