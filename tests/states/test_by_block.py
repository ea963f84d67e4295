"""Captures that run block after block give the rows of whole passes, to the last bit."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.states.by_block import ByBlock
from pytest_injectivity.states.capture import capture
from pytest_injectivity.states.shared_prefixes import Group, group_by_prefix
from pytest_injectivity.states.shelf import Shelf
from pytest_injectivity.states.sinks import InMemory
from pytest_injectivity.testing import save_checkpoint, tiny_decoder
from tests.adversaries import draw_prompts

pytest.importorskip("accelerate", reason="weights that stay on disk need accelerate")

START = [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
PROMPTS = [*draw_prompts(20, longest=9, vocab=64), *([*START, at] for at in range(9))]


def on_disk(decoder: Decoder, folder: Path) -> Decoder:
    return load_decoder(str(save_checkpoint(decoder, folder)), device="cpu", mode="stream")


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "mamba"])
@pytest.mark.parametrize("layers", [None, [0], [1], [2, "norm"]])
def test_rows_have_the_bits_of_whole_passes(
    family: str, layers: list[Layer] | None, tmp_path: Path
) -> None:
    """With beginnings that prompts share, which gpt2 and gemma2 cache and mamba runs again."""
    decoder = tiny_decoder(family)
    wanted = layers or [0, *decoder.layers]
    whole, streamed = (
        capture(one, PROMPTS, wanted, batch_tokens=64, least_saving=16)
        for one in (decoder, on_disk(decoder, tmp_path))
    )
    assert whole.shared_tokens > 0
    assert all(torch.equal(whole.rows[layer], streamed.rows[layer]) for layer in wanted)
    assert (whole.token_forwards, whole.shared_tokens) == (
        streamed.token_forwards,
        streamed.shared_tokens,
    )


def test_batches_of_fewer_tokens_than_the_least_shape_have_the_same_bits(tmp_path: Path) -> None:
    """The least shape is run whole, however small a pass should be."""
    decoder = tiny_decoder("gpt2")
    prompts = draw_prompts(12, longest=5, vocab=64)
    whole, streamed = (
        capture(one, prompts, [2], batch_tokens=2) for one in (decoder, on_disk(decoder, tmp_path))
    )
    assert whole.token_forwards == streamed.token_forwards
    assert torch.equal(whole.rows[2], streamed.rows[2])


def test_each_block_is_read_once(tmp_path: Path) -> None:
    """However many batches there are; those behind the deepest layer wanted are not read."""
    decoder = on_disk(tiny_decoder("gpt2", layers=4), tmp_path)
    assert decoder.streamed is not None
    before = decoder.streamed.disk.reads
    capture(decoder, PROMPTS, [1, 3], batch_tokens=32)
    assert 3 == decoder.streamed.disk.reads - before


def test_states_beyond_the_budget_are_held_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are the same, and the file is gone afterwards."""
    decoder = on_disk(tiny_decoder("gpt2"), tmp_path)
    made: list[str] = []
    plain = torch.from_file

    def noted(path: str, **how: object) -> Tensor:
        made.append(path)
        return plain(path, **how)  # type: ignore[arg-type] # handed through

    monkeypatch.setattr(torch, "from_file", noted)
    rows = [capture(decoder, PROMPTS, [2], budget=budget).rows[2] for budget in (None, 1)]
    assert torch.equal(*rows)
    assert 1 == len(made)
    assert not Path(made[0]).exists()


def test_states_that_the_disk_does_not_hold_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any is written; the message says what helps."""
    decoder = on_disk(tiny_decoder("gpt2"), tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ModelError, match=r"does not hold them \(No space left on device\): fewer"):
        capture(decoder, PROMPTS, [2], budget=1)


def test_what_is_done_is_not_captured_again(tmp_path: Path) -> None:
    """A batch is left out where nothing of it is missing."""
    decoder = on_disk(tiny_decoder("gpt2"), tmp_path)
    everything = {layer: np.ones(len(PROMPTS), dtype=bool) for layer in (1, 2)}
    everything[2][3] = False
    seen = _Seen(len(PROMPTS))
    found = capture(decoder, PROMPTS, [1, 2], batch_tokens=32, sink=seen, done=everything)
    assert {2} == seen.layers
    assert 0 < found.token_forwards <= 32


class _Seen(InMemory):
    def __init__(self, prompts: int) -> None:
        super().__init__(prompts)
        self.layers: set[Layer] = set()

    def take(self, prompts: Sequence[int], states: Mapping[Layer, Tensor]) -> None:
        self.layers |= set(states)
        super().take(prompts, states)


class TestOutOfMemory:
    """Memory that runs out is planted."""

    def test_batches_of_half_the_size_go_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was captured stays; the user is told."""
        decoder = on_disk(tiny_decoder("gpt2"), tmp_path)
        expected = capture(decoder, PROMPTS, [1, 2], batch_tokens=64).rows
        self._with_room_for(64, monkeypatch)
        said: list[str] = []
        found = capture(decoder, PROMPTS, [1, 2], batch_tokens=256, announce=said.append)
        assert all(torch.equal(expected[layer], found.rows[layer]) for layer in expected)
        assert ["128", "64"] == [one.split()[6] for one in said]
        once = capture(tiny_decoder("gpt2"), PROMPTS, [1, 2], batch_tokens=64)
        assert once.token_forwards == found.token_forwards

    def test_a_prompt_that_does_not_fit_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It names the prompt's length and what helps."""
        decoder = on_disk(tiny_decoder("gpt2"), tmp_path)
        self._with_room_for(0, monkeypatch)
        with pytest.raises(ModelError, match="does not hold a single prompt of 11 tokens"):
            capture(decoder, PROMPTS, [1, 2], batch_tokens=64)

    def test_another_error_is_passed_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has nothing to do with memory."""
        decoder = on_disk(tiny_decoder("gpt2"), tmp_path)
        self._with_room_for(0, monkeypatch, "a matrix has no inverse")
        with pytest.raises(RuntimeError, match="no inverse"):
            capture(decoder, PROMPTS, [1, 2])

    def _with_room_for(
        self, tokens: int, monkeypatch: pytest.MonkeyPatch, message: str = "out of memory"
    ) -> None:
        plain = Decoder.one_block

        def limited(decoder: Decoder, ids: Tensor, *args: object) -> dict[Layer, Tensor]:
            if ids.numel() > tokens:
                raise RuntimeError(message)
            return plain(decoder, ids, *args)  # type: ignore[arg-type] # handed through

        monkeypatch.setattr(Decoder, "one_block", limited)


def test_progress_ends_with_all_prompts(tmp_path: Path) -> None:
    """It never falls."""
    told: list[int] = []
    decoder = on_disk(tiny_decoder("gpt2"), tmp_path)
    groups: Sequence[Group] = group_by_prefix(PROMPTS, least_saving=16)
    missing = {2: np.zeros(len(PROMPTS), dtype=bool)}
    run = ByBlock(decoder, PROMPTS, groups, missing, InMemory(len(PROMPTS)))
    run.run(64, progress=lambda done, _total: told.append(done))
    assert sorted(told) == told
    assert len(PROMPTS) == told[-1]
    assert run.done[2].all()


class TestShelf:
    """States between two blocks."""

    @pytest.mark.parametrize("budget", [0, 10**6])
    def test_what_was_put_last_is_there(self, budget: int) -> None:
        """In memory and in a file; other places keep theirs."""
        shapes = [(2, 3, 4), (1, 5, 4)]
        first, second, third = (torch.randn(shapes[at]).bfloat16() for at in (0, 1, 0))
        with Shelf(shapes, budget=budget) as shelf:
            shelf.put(0, first)
            empty = shelf.get(1)
            shelf.put(1, second)
            shelf.put(0, third)
            found = [shelf.get(at) for at in (0, 1)]
            folder = shelf.folder
            assert torch.equal(found[0], third)  # type: ignore[arg-type] # it was put
            assert torch.equal(found[1], second)  # type: ignore[arg-type] # it was put
        assert empty is None
        assert (folder is None) == (budget > 0)
        assert folder is None or not Path(folder.name).exists()
