"""Passes that run two at a time: the bits, the order and the model are those of passes one by one."""

from collections.abc import Callable
from functools import partial
from threading import Barrier

import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.calibration import calibrate
from pytest_injectivity.models.concurrent import concurrently, twin
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.testing import tiny_decoder

SHAPES = ((1, 3), (4, 16), (2, 40), (1, 1), (16, 2), (3, 7), (1, 60))
SECONDS = 20


def tasks_of(decoder: Decoder) -> list[Callable[[Decoder], Tensor]]:
    """Passes of several shapes, to several depths."""
    generator = torch.Generator().manual_seed(0)
    found: list[Callable[[Decoder], Tensor]] = []
    for at, shape in enumerate(SHAPES):
        ids = torch.randint(decoder.vocab_size, shape, generator=generator)
        layer = decoder.layers[at % len(decoder.layers)]
        found.append(partial(_states, ids=ids, layer=layer))
    return found


def _states(decoder: Decoder, ids: Tensor, layer: Layer) -> Tensor:
    return decoder.states(ids, [layer])[layer]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.usefixtures("two_threads")
def test_the_bits_are_those_of_one_after_the_other(family: str, dtype: torch.dtype) -> None:
    """Each result is that of its own task, in order, to the last bit."""
    decoder = tiny_decoder(family, dtype=dtype)
    tasks = [task for task in tasks_of(decoder) for _ in range(3)]
    torch.set_num_threads(1)
    expected = [task(decoder) for task in tasks]
    torch.set_num_threads(2)
    found = list(concurrently(decoder, tasks, least_parameters=0))
    assert len(tasks) == len(found)
    assert all(torch.equal(*both) for both in zip(expected, found, strict=True))


@pytest.mark.usefixtures("two_threads")
def test_two_tasks_run_at_once_on_one_thread_each() -> None:
    """Each has a decoder of its own; tasks that wait for each other end."""
    both = Barrier(2)

    def task(one: Decoder) -> tuple[int, int]:
        both.wait(SECONDS)
        return id(one), torch.get_num_threads()

    (one, threads), (other, as_many) = concurrently(
        tiny_decoder(), [task, task], least_parameters=0
    )
    assert one != other
    assert (1, 1) == (threads, as_many)


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_is_put_back() -> None:
    """What comes after, in threads begun later too, has all of them."""
    list(concurrently(tiny_decoder(), [lambda _: 0] * 3, least_parameters=0))
    later = concurrently(tiny_decoder(dtype=torch.float64), [lambda _: torch.get_num_threads()])
    assert [2] == list(later)
    assert 2 == torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_an_error_is_that_of_its_task() -> None:
    """The results before it are given, and the threads put back."""

    def fails(_: Decoder) -> int:
        raise ZeroDivisionError("of this task")

    found = concurrently(tiny_decoder(), [lambda _: 1, fails, lambda _: 2], least_parameters=0)
    assert 1 == next(found)
    with pytest.raises(ZeroDivisionError, match="of this task"):
        next(found)
    assert 2 == torch.get_num_threads()


@pytest.mark.parametrize(
    ("decoder", "least"),
    [(tiny_decoder(), 2**24), (tiny_decoder().as_float64(), 0)],
    ids=["small", "float64"],
)
@pytest.mark.usefixtures("two_threads")
def test_others_run_one_after_the_other_on_all_threads(decoder: Decoder, least: int) -> None:
    """A small model gains nothing, and the default dtype that true float64 sets is everybody's."""
    seen = concurrently(
        decoder, [lambda one: (one, torch.get_num_threads())] * 3, least_parameters=least
    )
    assert [(decoder, 2)] * 3 == list(seen)


@pytest.mark.usefixtures("one_thread")
def test_one_thread_runs_the_decoder_itself() -> None:
    """There is nothing to run beside it."""
    decoder = tiny_decoder()
    assert [decoder] * 2 == list(concurrently(decoder, [lambda one: one] * 2, least_parameters=0))


def test_a_twin_shares_the_weights_and_not_the_modules() -> None:
    """A weight that is changed is changed in both; a hook is on one."""
    decoder = tiny_decoder("llama")
    other = twin(decoder)
    pairs = list(zip(decoder.model.parameters(), other.model.parameters(), strict=True))
    assert pairs
    assert all(one is same for one, same in pairs)
    assert not {*map(id, decoder.model.modules())} & {*map(id, other.model.modules())}


def test_a_twin_rounds_what_its_decoder_rounds() -> None:
    """Once, by hooks of its own."""
    plain = tiny_decoder("llama")
    prompts = [[1, 2, 3, 4], [5, 6, 7, 8]]
    decoder = plain.rounded(calibrate(plain, prompts, Grid(4)))
    ids = torch.tensor(prompts)
    assert torch.equal(*(one.states(ids, [2])[2] for one in (decoder, twin(decoder))))
