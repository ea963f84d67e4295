"""Runs passes side by side through blocks that are on disk: a block is read once for all of them.

A task's pass stops before each block until its weights are there. When every task that was begun waits
for a block or has ended, the next block that one of them waits for is read, in the order of the blocks:
one sweep over the weights serves one pass of each task. Two tasks that have what they need may compute
at once; all others wait.
"""

from threading import Condition

from pytest_injectivity.models.streamed_blocks import BlocksOnDisk, Weights

_NONE = -1


class _Stopped(Exception):  # noqa: N818 - it ends a task that nobody wants any more
    """Raised in a task whose result nobody takes."""


class Sweeps:
    """Lets tasks that wait for one block share it.

    Args:
        disk: the blocks' weights.
        tasks: how many there are.
        begun: how many of them are under way at once.
        at_once: how many of these may compute at once.
    """

    def __init__(self, disk: BlocksOnDisk, *, tasks: int, begun: int, at_once: int) -> None:
        self._disk = disk
        self._changed = Condition()
        self._at_once = at_once
        # Tasks that are about to begin, those that begin when another one has ended, those that compute,
        # and by block those that wait for it.
        self._coming = min(tasks, begun)
        self._later = tasks - self._coming
        self._computing = 0
        self._waiting: dict[int, int] = {}
        self._index = _NONE
        self._weights: Weights = {}
        self._failed: BaseException | None = None

    def begin(self) -> None:
        """Called by a task before all else; it waits until it may compute."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._computing < self._at_once)
            self._coming -= 1
            self._computing += 1

    def end(self) -> None:
        """Called by a task when it is over."""
        with self._changed:
            self._computing -= 1
            if self._later:
                self._later -= 1
                self._coming += 1
            self._go_on()

    def obtain(self, index: int) -> Weights:
        """Called by a task before a block; it waits for the block's weights.

        Args:
            index: of the block.
        """
        with self._changed:
            self._computing -= 1
            self._waiting[index] = self._waiting.get(index, 0) + 1
            self._go_on()
            self._changed.wait_for(lambda: self._failed or self._may_run(index))
            self._waiting[index] -= 1
            self._computing += 1
            if self._failed is not None:
                raise self._failed
            return self._weights

    def stop(self) -> None:
        """Ends all tasks at their next block."""
        with self._changed:
            self._failed = self._failed or _Stopped()
            self._changed.notify_all()

    def _may_run(self, index: int) -> bool:
        return self._index == index and self._computing < self._at_once

    def _go_on(self) -> None:
        """Reads the next block where every task waits for another one than is there."""
        wanted = sorted(index for index, tasks in self._waiting.items() if tasks)
        idle = not (self._computing or self._coming or self._failed)
        if idle and wanted and self._index not in wanted:
            self._weights = {}
            self._index = next((one for one in wanted if one > self._index), wanted[0])
            try:
                self._weights = self._disk.block(self._index)
            except BaseException as error:  # noqa: BLE001 - every task that waits raises it
                self._failed = error
        self._changed.notify_all()
