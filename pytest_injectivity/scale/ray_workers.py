"""Workers of Ray (extra ``ray``): processes of this machine, or of a cluster at an address ``ray://``.

Nothing is sent anywhere but to the workers: Ray's statistics and its dashboard are off. Each worker
computes on its share of the cores, as workers of pytest-xdist do.
"""

import logging
import os
import shutil
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, TypeVar

from pytest_injectivity.core.threads import share_of_threads, threads_of
from pytest_injectivity.errors import InjectivityError, MissingExtra, OptionError
from pytest_injectivity.scale.pool import Pool, WorkerDied

Part = TypeVar("Part")
Done = TypeVar("Done")

_READY_SECONDS = 300.0
"""A cluster that gives no worker in this time has no room for one."""

# Names of sockets have at most 107 bytes, of which Ray takes 78.
_LONGEST_PLACE = 29
_SHORT_PLACE = "/tmp"  # noqa: S108 - a new folder of its own is made there

_REMOVALS = 50
_OBJECT_BYTES = 300 * 2**20
# Read as Ray is imported: no statistics, and GPUs are left as they are to workers that ask for none.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def check_installed(asked: str) -> None:
    """Refuses workers where Ray is missing.

    Args:
        asked: how they were asked for.

    Raises:
        MissingExtra: it is.
    """
    if find_spec("ray") is None:
        raise MissingExtra(f'{asked} needs ray: pip install "pytest-injectivity[ray]"')


class RayWorkers:
    """Runs parts of a job in workers of Ray; see `core.executor.Executor`.

    The cluster is started, or connected to, when the first job is run, and left by `close`. Workers
    live until then, so that each loads a model once for all jobs.

    Args:
        asked: how many workers on this machine; or an address ``ray://HOST:PORT``, whose cluster has a
            worker for each GPU, or for each machine where it has none.
    """

    def __init__(self, asked: int | str) -> None:
        self.asked = asked
        self._pool: Pool | None = None
        self._threads = 0
        self._leaving = ExitStack()
        weakref.finalize(self, self._leaving.close)  # where nobody calls `close`

    @property
    def count(self) -> int:
        """How many parts it runs side by side; a cluster is asked how many it has room for."""
        return self.asked if isinstance(self.asked, int) else self._connected().count

    @property
    def threads(self) -> int:
        """On how many threads they compute, all together: on this machine on no more than it has."""
        if isinstance(self.asked, int):
            return _threads_here(self.asked)
        self._connected()
        return self._threads

    def map(self, job: Callable[[Part], Done], parts: Iterable[Part]) -> Generator[Done]:
        """Runs a job on each part, and gives the results in the order of the parts.

        The job is sent once to each machine, whose workers read its numpy arrays where they lie.

        Raises:
            MissingExtra: Ray is not installed.
            OptionError: there is no cluster at the address, or it has no room for a worker.
            WorkersDied: a part ended one worker after the other.
        """
        pool = self._connected()
        import ray

        with closing(pool.map(ray.put(job), parts)) as done:
            yield from done

    def close(self) -> None:
        """End the workers, leave the cluster, and end it where it was started here."""
        self._pool = None
        with _quietly():
            self._leaving.close()

    def _connected(self) -> Pool:
        """The workers of the cluster that is started or connected to by the first call."""
        if self._pool is None:
            check_installed(f"--injx-workers={self.asked}")
            with _quietly():
                import ray

                # A cluster that somebody connected this process to is as good as one of its own.
                if isinstance(self.asked, str) or not ray.is_initialized():
                    self._connect(ray)
                share = Share.of(ray, self.asked if isinstance(self.asked, int) else None)
            self._pool = Pool(partial(_RayWorker, share), share.count)
            self._threads = share.count * threads_of(share.cpus)
            self._leaving.callback(self._pool.close)
        return self._pool

    def _connect(self, ray: Any) -> None:
        silent = {"log_to_driver": False, "logging_level": logging.ERROR}
        if isinstance(self.asked, int):
            folder = _folder()
            self._leaving.callback(_remove, folder)
            self._leaving.callback(ray.shutdown)  # also of what was begun as the start failed
            ray.init(
                address="local",
                num_cpus=max(self.asked, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_OBJECT_BYTES,
                _temp_dir=str(Path(folder, "r")),  # which Ray opens to everybody
                **silent,
            )
            return
        self._leaving.callback(ray.shutdown)
        try:
            ray.init(address=self.asked, **silent)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise OptionError(
                f"--injx-workers={self.asked}: no cluster of Ray answers there ({error}): give the"
                " address ray://HOST:PORT of one (with RAY_AUTH_MODE=token where it wants a token), or a"
                " number of workers on this machine"
            ) from error


@dataclass(frozen=True)
class Share:
    """What a worker has of the cluster.

    Attributes:
        count: of the workers.
        cpus: cores of one.
        gpus: of one; a part of a GPU where several share it.
    """

    count: int
    cpus: int
    gpus: float

    @classmethod
    def of(cls, ray: Any, count: int | None) -> Self:
        """The shares of so many workers; None: one a GPU, or one a machine where there is none."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        machines = [one for one in machines if one.get("CPU", 0) >= 1]
        gpus = int(sum(one.get("GPU", 0) for one in machines))
        count = count or max(gpus, len(machines), 1)
        together = -(-count // max(len(machines), 1))
        cores = min((int(one["CPU"]) for one in machines), default=1)
        return cls(count, max(1, cores // together), 1 / -(-count // gpus) if gpus else 0.0)


def _threads_here(count: int) -> int:
    if "OMP_NUM_THREADS" in os.environ:
        return min(count * threads_of(1), os.cpu_count() or 1)
    import torch

    # They share the cores that this process has as well.
    return torch.get_num_threads()


class _Actor:
    """What runs in a worker's process."""

    def ready(self) -> None:
        """Returns as soon as the process is there."""

    def run(self, job: Callable[[Any], Any], part: Any) -> Any:
        """Runs a job on a part."""
        return job(part)


class _RayWorker:
    """A process of the cluster; see `pool.Worker`."""

    def __init__(self, share: Share) -> None:
        import ray

        self._share = share
        self._actor: Any = (
            ray.remote(_Actor)
            .options(
                num_cpus=share.cpus,
                num_gpus=share.gpus,
                scheduling_strategy="SPREAD",
                runtime_env={"env_vars": share_of_threads(share.cpus)},
            )
            .remote()
        )
        # Whoever ends this worker need not wait until the cluster has room for it.
        self._ready: Any = self._actor.ready.remote()

    def run(self, job: Callable[[Any], Any], part: Any) -> Any:
        """Runs a job on a part, and raises what it raises.

        Raises:
            OptionError: the cluster has no room for this worker.
        """
        import ray
        from ray import exceptions

        gone = (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,  # with the machine that had computed it
        )
        try:
            ray.get(self._ready, timeout=_READY_SECONDS)
            return ray.get(self._actor.run.remote(job, part))
        except exceptions.GetTimeoutError:
            self.stop()  # or it would go on asking the cluster for room
            raise OptionError(
                f"no worker was started in {_READY_SECONDS:.0f} s: the cluster has no room for one of"
                f" {self._share.cpus} cores and {self._share.gpus:g} GPUs, or its machines cannot start"
                " the Python of this one"
            ) from None
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, InjectivityError):
                raise cause from None
            # Where it was raised stands in Ray's.
            raise (cause if isinstance(cause, Exception) else error) from error
        except gone as error:
            raise WorkerDied(str(error).partition("\n")[0]) from error

    def stop(self) -> None:
        """Ends the process."""
        import ray

        if ray.is_initialized():
            ray.kill(self._actor)


def _folder() -> str:
    """A folder for what Ray writes: for the owner alone, as the store is, and gone with the cluster."""
    place = tempfile.gettempdir()
    long = len(place) > _LONGEST_PLACE and Path(_SHORT_PLACE).is_dir()
    return tempfile.mkdtemp(prefix="injx-", dir=_SHORT_PLACE if long else place)


def _remove(folder: str) -> None:
    """Removes the folder, in which processes that are ending may still write for a moment."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            return
        time.sleep(0.1)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps Ray's banner, its notices and its warnings off the terminal."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
