"""Runs independent passes of a model two at a time, each on half of the threads.

A pass of few rows reads all weights for little arithmetic, and gains nothing from a second thread:
twenty of them took 2.3 s on one thread and on two, and 1.3 s two at a time (docs/log.md, 2026-11-29).
Each of the two has modules of its own, which share the weights, because hooks and what modules change of
themselves belong to one pass.
"""

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

from pytest_injectivity.models.decoder import Decoder

_Found = TypeVar("_Found")

_AT_ONCE = 2
# Results that wait at most until earlier ones are taken.
_AHEAD = 4
# Of a smaller model a pass is mostly Python, which two threads do not run at once.
_LEAST_PARAMETERS = 2**24


def concurrently(
    decoder: Decoder,
    tasks: Iterable[Callable[[Decoder], _Found]],
    *,
    ahead: int = _AHEAD,
    least_parameters: int = _LEAST_PARAMETERS,
) -> Generator[_Found, None, None]:
    """Runs tasks, two at a time where that is faster, and gives their results in order.

    On up to three threads each pass runs on one, so that bits are those of one thread. Close what is
    returned where results are left (`contextlib.closing`): tasks go on running until then.

    Args:
        decoder: the model.
        tasks: each runs passes of the decoder that it is given, and changes nothing of it.
        ahead: how many tasks are begun before the result of the first of them is taken.
        least_parameters: of a model whose tasks run two at a time.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> list(concurrently(tiny_decoder("gpt2"), [lambda one: one.n_layers] * 3))
        [2, 2, 2]
    """
    threads = torch.get_num_threads()
    if threads < _AT_ONCE or not _has_twin(decoder, least_parameters):
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
    pool = ThreadPoolExecutor(
        _AT_ONCE, initializer=torch.set_num_threads, initargs=(threads // _AT_ONCE,)
    )
    try:
        for task in tasks:
            if len(begun) == ahead:
                yield begun.popleft().result()
            begun.append(pool.submit(run, task))
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread's own number of threads is also what threads begun later start with.
        torch.set_num_threads(threads)


def twin(decoder: Decoder) -> Decoder:
    """A decoder of the same weights with modules of its own: both can run at once."""
    weights = {id(one): one for one in decoder.model.parameters()}
    return Decoder(
        decoder.source,
        copy.deepcopy(decoder.model, weights),
        decoder.tokenizer,
        revision=decoder.revision,
        quantized=decoder.quantized,
        rounding=decoder.rounding,
        left_out=decoder.left_out,
    )


def _has_twin(decoder: Decoder, least_parameters: int) -> bool:
    """Whether passes of a decoder can run at once, and gain from it.

    The default dtype that true float64 sets is the whole process's, and packed layers hold weights that
    are neither parameters nor buffers.
    """
    packed = decoder.quantized is not None and not decoder.quantized.dense
    # A block that is on disk is read for one pass at a time.
    alone = packed or decoder.streamed is not None
    if decoder.float64 or alone or decoder.device.type != "cpu":
        return False
    return sum(one.numel() for one in decoder.model.parameters()) >= least_parameters
