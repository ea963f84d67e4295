"""Tasks on blocks that are on disk share what is read, and have the results that they have alone."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity.models.concurrent import concurrently
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.streamed_blocks import BlocksOnDisk
from pytest_injectivity.testing import save_checkpoint, tiny_decoder
from tests.repetitions import mostly_slow

pytest.importorskip("accelerate", reason="weights that stay on disk need accelerate")

Task = Callable[[Decoder], Tensor]
BLOCKS = 3
TASKS = 7


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """A llama of three blocks, which are on disk."""
    folder = save_checkpoint(tiny_decoder("llama", layers=BLOCKS), tmp_path_factory.mktemp("model"))
    return load_decoder(str(folder), device="cpu", mode="stream")


def reads(decoder: Decoder) -> int:
    assert decoder.streamed is not None
    return decoder.streamed.disk.reads


def passes(one: Decoder, *, start: int, count: int) -> Tensor:
    """As many passes one after the other, each on what the one before has given."""
    ids = (torch.arange(6)[None] + start) % one.vocab_size
    for _ in range(count):
        states = one.states(ids, ["norm"])["norm"]
        ids = (ids + states.sum(-1).abs().mul(1e3).long()) % one.vocab_size
    return states


def tasks_of(count: int, tasks: int = TASKS) -> list[Task]:
    return [partial(passes, start=at, count=count) for at in range(tasks)]


@pytest.mark.parametrize(
    ("threads", "count"), mostly_slow([*product((1, 2), (1, 3))], (1, 3), (2, 1))
)
def test_a_block_is_read_once_for_a_pass_of_every_task(
    decoder: Decoder, count: int, threads: int
) -> None:
    """The results are those of the tasks alone, in order."""
    torch.set_num_threads(threads)
    expected = [task(decoder) for task in tasks_of(count)]
    before = reads(decoder)
    found = list(concurrently(decoder, tasks_of(count), least_parameters=0))
    torch.set_num_threads(1)
    assert BLOCKS * count == reads(decoder) - before
    assert all(torch.equal(*both) for both in zip(expected, found, strict=True))


def test_tasks_beyond_those_that_are_begun_begin_when_others_end(decoder: Decoder) -> None:
    """Each batch of them costs a sweep."""
    expected = [task(decoder) for task in tasks_of(1)]
    before = reads(decoder)
    found = list(concurrently(decoder, tasks_of(1), most_begun=3))
    assert BLOCKS * 3 == reads(decoder) - before
    assert all(torch.equal(*both) for both in zip(expected, found, strict=True))


def test_tasks_of_several_lengths_and_depths_end(decoder: Decoder) -> None:
    """Those that are done are not waited for."""
    tasks = [partial(passes, start=at, count=1 + at % 3) for at in range(TASKS)]
    shallow = [lambda one: one.states(torch.tensor([[1, 2]]), [1])[1]] * 2
    expected = [task(decoder) for task in (*tasks, *shallow)]
    found = list(concurrently(decoder, [*tasks, *shallow]))
    assert all(torch.equal(*both) for both in zip(expected, found, strict=True))


def test_an_error_is_that_of_its_task(decoder: Decoder) -> None:
    """The results before it are given, and the blocks hold nothing afterwards."""

    def fails(one: Decoder) -> Tensor:
        one.states(torch.tensor([[1, 2]]), [1])
        raise ValueError("planted")

    found = concurrently(decoder, [*tasks_of(1, 2), fails, *tasks_of(2, 2)])
    first = [next(found), next(found)]
    with pytest.raises(ValueError, match="planted"):
        next(found)
    assert 2 == len(first)
    assert all(one.is_meta for one in decoder.parts.blocks.parameters())


def test_an_error_of_the_disk_ends_all_tasks(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them waits forever."""

    def fails(_disk: BlocksOnDisk, index: int) -> None:
        raise OSError(f"no block {index}")

    monkeypatch.setattr(BlocksOnDisk, "block", fails)
    with pytest.raises(OSError, match="no block 0"):
        list(concurrently(decoder, tasks_of(1)))


def test_tasks_whose_results_are_left_end(decoder: Decoder) -> None:
    """At their next block: those that would run 500 passes do not."""
    tasks = [*tasks_of(1, 1), *tasks_of(500, 2)]
    before = reads(decoder)
    with closing(concurrently(decoder, tasks)) as found:
        first = next(found)
    assert reads(decoder) - before < BLOCKS * 500
    assert torch.equal(first, tasks[0](decoder))


def test_no_tasks_have_no_results(decoder: Decoder) -> None:
    """Nothing is begun."""
    assert [] == list(concurrently(decoder, []))


def test_rounded_blocks_are_rounded_in_sweeps_too(tmp_path: Path) -> None:
    """As in a model in memory."""
    from pytest_injectivity.quantization.activation_hooks import Rounding
    from pytest_injectivity.quantization.grid import Grid

    rounding = Rounding(Grid.parse("4 asymmetric per-token"))
    whole = tiny_decoder("llama")
    folder = save_checkpoint(whole, tmp_path)
    streamed = load_decoder(str(folder), device="cpu", mode="stream").rounded(rounding)
    expected = [task(whole.rounded(rounding)) for task in tasks_of(1)]
    found = list(concurrently(streamed, tasks_of(1)))
    assert all(torch.equal(*both) for both in zip(expected, found, strict=True))
