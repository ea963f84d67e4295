"""Who shares the searches of a target's geometries: workers of the run, or devices of this machine."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.core.executor import Executor
from pytest_injectivity.errors import ModelError

Part = TypeVar("Part")
Done = TypeVar("Done")


def searchers(target: Target) -> Executor | None:
    """What a large search is shared among; None where this process searches alone.

    Rows on a GPU are searched in less time than they take to a worker. Where a model is shared among
    several GPUs, they share its searches.
    """
    devices = target.kept.devices
    if devices[0].type == "cuda":
        from pytest_injectivity.geometry.search.device_threads import DeviceThreads

        return DeviceThreads(devices) if len(devices) > 1 else None
    return None if target.executor is None else _OfThisCode(target.executor)


@dataclass(frozen=True)
class _Job(Generic[Part, Done]):
    """A job that only runs where the code is that of the process that asks."""

    job: Callable[[Part], Done]
    code: str

    def __call__(self, part: Part) -> Done:
        """Runs it.

        Raises:
            ModelError: the code is another.
        """
        if self.code != (here := _code()):
            raise ModelError(
                f"a worker has {here} and this process {self.code}: let all workers have the same"
                " pytest-injectivity"
            )
        return self.job(part)


class _OfThisCode:
    """Workers that are refused where they have other code: they might find something else."""

    def __init__(self, workers: Executor) -> None:
        self._workers = workers

    @property
    def count(self) -> int:
        """See `Executor`."""
        return self._workers.count

    @property
    def threads(self) -> int:
        """See `Executor`."""
        return self._workers.threads

    def map(self, job: Callable[[Part], Done], parts: Iterable[Part]) -> Generator[Done]:
        """See `Executor`."""
        with closing(self._workers.map(_Job(job, _code()), parts)) as done:
            yield from done


def _code() -> str:
    from pytest_injectivity.store.provenance import code

    return f"pytest-injectivity {code()}"
