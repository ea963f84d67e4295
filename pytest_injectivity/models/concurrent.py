"""Runs independent passes of a model two at a time, each on half of the threads.

A pass of few rows reads all weights for little arithmetic, and gains nothing from a second thread:
twenty of them took 2.3 s on one thread and on two, and 1.3 s two at a time (docs/log.md, 2026-11-29).
Each of the two has modules of its own, which share the weights, because hooks and what modules change of
themselves belong to one pass.
"""

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from typing import TypeVar

import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import find_parts
from pytest_injectivity.models.streamed_blocks import StreamedBlocks, Weights
from pytest_injectivity.models.sweeps import Sweeps

_Found = TypeVar("_Found")

_AT_ONCE = 2
# Results that wait at most until earlier ones are taken.
_AHEAD = 4
# Tasks that are under way at once where blocks are on disk; each holds what its pass has computed.
_BEGUN = 32
# Of a smaller model a pass is mostly Python, which two threads do not run at once.
_LEAST_PARAMETERS = 2**24


def concurrently(
    decoder: Decoder,
    tasks: Iterable[Callable[[Decoder], _Found]],
    *,
    ahead: int = _AHEAD,
    least_parameters: int = _LEAST_PARAMETERS,
    most_begun: int = _BEGUN,
) -> Generator[_Found, None, None]:
    """Runs tasks, two at a time where that is faster, and gives their results in order.

    On up to three threads each pass runs on one, so that bits are those of one thread. Where blocks are
    on disk, tasks run side by side and share each block that is read (`sweeps`). Close what is
    returned where results are left (`contextlib.closing`): tasks go on running until then.

    Args:
        decoder: the model.
        tasks: each runs passes of the decoder that it is given, and changes nothing of it.
        ahead: how many tasks are begun before the result of the first of them is taken; of blocks on
            disk all are.
        least_parameters: of a model whose tasks run two at a time.
        most_begun: tasks that are under way at once where blocks are on disk.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> list(concurrently(tiny_decoder("gpt2"), [lambda one: one.n_layers] * 3))
        [2, 2, 2]
    """
    gains = torch.get_num_threads() >= _AT_ONCE and _gains(decoder, least_parameters)
    if decoder.streamed is not None:
        at_once = _AT_ONCE if gains else 1
        yield from _in_sweeps(decoder, list(tasks), most_begun, at_once)
        return
    if not gains:
        yield from (task(decoder) for task in tasks)
        return
    free: SimpleQueue[Decoder] = SimpleQueue()
    for one in (decoder, twin(decoder)):
        free.put(one)

    def run(task: Callable[[Decoder], _Found]) -> _Found:
        one = free.get()
        try:
            return task(one)
        finally:
            free.put(one)

    begun: deque[Future[_Found]] = deque()
    with _threads(_AT_ONCE, at_once=_AT_ONCE) as pool:
        for task in tasks:
            if len(begun) == ahead:
                yield begun.popleft().result()
            begun.append(pool.submit(run, task))
        while begun:
            yield begun.popleft().result()


def twin(decoder: Decoder, obtain: Callable[[int], Weights] | None = None) -> Decoder:
    """A decoder of the same weights with modules of its own: both can run at once.

    Args:
        decoder: the model.
        obtain: gives the weights of a block that is about to run, where blocks are on disk; None: they
            are read.
    """
    weights = {id(one): one for one in decoder.model.parameters()}
    streamed = decoder.streamed
    with nullcontext() if streamed is None else streamed.let_go():
        model = copy.deepcopy(decoder.model, weights)
    blocks = find_parts(model, decoder.family).blocks
    return Decoder(
        decoder.source,
        model,
        decoder.tokenizer,
        revision=decoder.revision,
        quantized=decoder.quantized,
        rounding=decoder.rounding,
        left_out=decoder.left_out,
        streamed=streamed and StreamedBlocks(blocks, streamed.disk, obtain),
    )


def _in_sweeps(
    decoder: Decoder,
    tasks: Sequence[Callable[[Decoder], _Found]],
    most_begun: int,
    at_once: int,
) -> Generator[_Found, None, None]:
    """Runs tasks on blocks that are on disk, each block read once for all that wait for it."""
    assert decoder.streamed is not None  # noqa: S101 - its caller looked
    live = min(len(tasks), most_begun)
    sweeps = Sweeps(decoder.streamed.disk, tasks=len(tasks), begun=live, at_once=at_once)
    free: SimpleQueue[Decoder] = SimpleQueue()
    for _ in range(live):
        free.put(twin(decoder, sweeps.obtain))

    def run(task: Callable[[Decoder], _Found]) -> _Found:
        one = free.get()
        sweeps.begin()
        try:
            return task(one)
        finally:
            sweeps.end()
            free.put(one)

    with _threads(live, at_once=at_once) as pool:
        try:
            begun = deque(pool.submit(run, task) for task in tasks)
            while begun:
                yield begun.popleft().result()
        finally:
            sweeps.stop()


@contextmanager
def _threads(count: int, *, at_once: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that begin work, of which so many compute at once."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        max(count, 1), initializer=torch.set_num_threads, initargs=(threads // at_once,)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread's own number of threads is also what threads begun later start with.
        torch.set_num_threads(threads)


def _gains(decoder: Decoder, least_parameters: int) -> bool:
    """Whether passes of a decoder can run at once, and gain from it.

    The default dtype that true float64 sets is the whole process's, and packed layers hold weights that
    are neither parameters nor buffers.
    """
    packed = decoder.quantized is not None and not decoder.quantized.dense
    if decoder.float64 or packed or decoder.device.type != "cpu":
        return False
    return sum(one.numel() for one in decoder.model.parameters()) >= least_parameters
