"""Workers of Ray: their shares, what is refused, and a real cluster where Ray is installed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.errors import MissingExtra, OptionError
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.scale import ray_workers
from pytest_injectivity.scale.ray_workers import RayWorkers, Share
from tests.adversaries import draw_rows
from tests.shared_searches import SMALL, same

DEAD = {"Alive": False, "Resources": {"CPU": 64.0}}


def cluster(*machines: dict[str, float]) -> Any:
    """Ray, as far as its list of machines goes; one more has ended."""
    return SimpleNamespace(
        nodes=lambda: [DEAD, *({"Alive": True, "Resources": one} for one in machines)]
    )


@pytest.mark.parametrize(
    ("machines", "asked", "share"),
    [
        ([{"CPU": 8.0}], 2, Share(2, 4, 0.0)),
        ([{"CPU": 2.0}], 3, Share(3, 1, 0.0)),
        ([{"CPU": 8.0}, {"CPU": 16.0}], None, Share(2, 8, 0.0)),
        ([{}, {"CPU": 8.0}], None, Share(1, 8, 0.0)),
        ([{"CPU": 8.0, "GPU": 4.0}], None, Share(4, 2, 1.0)),
        ([{"CPU": 8.0, "GPU": 8.0}], 4, Share(4, 2, 1.0)),
        ([{"CPU": 8.0, "GPU": 2.0}], 3, Share(3, 2, 0.5)),
    ],
)
def test_workers_share_cores_and_gpus(
    machines: list[dict[str, float]], asked: int | None, share: Share
) -> None:
    """All fit: of unequal machines the smallest counts, and GPUs are divided where they are fewer."""
    assert share == Share.of(cluster(*machines), asked)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the option that asked for it, when the first part is to be run."""
    monkeypatch.setattr(ray_workers, "find_spec", lambda _: None)
    workers = RayWorkers(2)
    assert 2 == workers.count
    with pytest.raises(
        MissingExtra, match=r"--injx-workers=2 needs ray: .*pytest-injectivity\[ray\]"
    ):
        next(workers.map(abs, [1]))
    workers.close()


def pid_of(number: int) -> tuple[int, int, str]:
    """A job: who computes, and on how many threads."""
    if number == 99:
        raise OptionError("99 is not accepted")
    return number, os.getpid(), os.environ["OMP_NUM_THREADS"]


@pytest.mark.slow
def test_what_ray_writes_is_the_owners_alone_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray opens its own folder to everybody: it lies in one that is closed."""
    pytest.importorskip("ray", reason="ray is not installed")
    made: list[Path] = []
    folder = ray_workers._folder
    monkeypatch.setattr(ray_workers, "_folder", lambda: made.append(Path(folder())) or str(made[0]))
    workers = RayWorkers(1)
    assert [1] == list(workers.map(abs, [-1]))
    assert 0o700 == made[0].stat().st_mode & 0o777
    assert 1 == len(list(made[0].iterdir()))
    workers.close()
    assert not made[0].exists()


@pytest.fixture(scope="module")
def workers() -> Iterator[RayWorkers]:
    """A cluster of two workers on this machine."""
    pytest.importorskip("ray", reason="ray is not installed")
    made = RayWorkers(2)
    yield made
    made.close()


@pytest.mark.slow
def test_parts_run_in_other_processes(workers: RayWorkers) -> None:
    """In order, each worker on its share of the threads."""
    found = list(workers.map(pid_of, range(20)))
    assert list(range(20)) == [number for number, _, _ in found]
    assert os.getpid() not in {pid for _, pid, _ in found}
    share = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    assert {share} == {threads for _, _, threads in found}


@pytest.mark.slow
def test_processes_live_until_the_workers_are_closed(workers: RayWorkers) -> None:
    """The next job runs in the same ones."""
    first, second = ({pid for _, pid, _ in workers.map(pid_of, range(20))} for _ in range(2))
    assert (2, 2) == (len(first), len(first | second))


@pytest.mark.slow
def test_an_error_of_a_job_is_the_one_that_it_raised(workers: RayWorkers) -> None:
    """Of its own class alone, without Ray's."""
    with pytest.raises(OptionError, match=r"^99 is not accepted$") as raised:
        list(workers.map(pid_of, [1, 99, 2]))
    assert OptionError is raised.type


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced(workers: RayWorkers) -> None:
    """Its part, and those that follow, run in another one."""
    found = workers.map(pid_of, range(20))
    first = next(found)
    os.kill(first[1], signal.SIGKILL)
    rest = list(found)
    assert list(range(1, 20)) == [number for number, _, _ in rest]
    assert first[1] not in {pid for _, pid, _ in rest[-8:]}


class Counted:
    """A job that counts how often it is pickled."""

    sent = 0

    def __getstate__(self) -> dict[str, int]:
        Counted.sent += 1
        return {"sent": Counted.sent}

    def __call__(self, part: int) -> int:
        """The part."""
        return part


@pytest.mark.slow
def test_a_job_is_sent_once(workers: RayWorkers) -> None:
    """Not with each part."""
    before = Counted.sent
    assert list(range(20)) == list(workers.map(Counted(), range(20)))
    assert before + 1 == Counted.sent


class Killing:
    """Workers of which one is killed as soon as the first part is done."""

    def __init__(self, workers: RayWorkers, pid: int) -> None:
        self.count, self.threads = workers.count, workers.threads
        self._workers, self._pid = workers, pid

    def map(self, job: Callable[[Any], Any], parts: Iterable[Any]) -> Generator[Any]:
        """See `Executor`."""
        for done in self._workers.map(job, parts):
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)
                self._pid = 0
            yield done


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_a_search_is_that_of_one_process(
    workers: RayWorkers, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    """Also where a worker dies meanwhile."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows, (_, pid, _) = draw_rows("gaussian", 3000, 64), next(workers.map(pid_of, [1]))
    ids = [[at // 60, at % 60, *range(at % 5)] for at in range(3000)]
    prompts = PairDistances(PromptMetric.LEVENSHTEIN, ids)
    tiles = replace(SMALL, tile_rows=512, tile_columns=512, part_pairs=10**6)
    executor = Killing(workers, pid) if killed else workers
    with on_threads(1):
        nearest = k_nearest(rows, 3, executor=executor, limits=tiles)
        ratios = extreme_ratios(rows, prompts, "smallest", executor=executor, limits=tiles)
    assert same(k_nearest(rows, 3), nearest)
    assert same(extreme_ratios(rows, prompts, "smallest"), ratios)
    assert killed != psutil.pid_exists(pid)


@pytest.mark.parametrize(("set_to", "threads"), [("1", 2), ("3,1", 6), ("64", 8)])
def test_workers_say_on_how_many_threads_they_compute(
    set_to: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as the user has set for each, all together, but not more than the machine has."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    assert threads == RayWorkers(2).threads


def test_workers_on_this_machine_have_no_more_threads_than_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing is set, this process computes on all of its cores by itself."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert torch.get_num_threads() == RayWorkers(2).threads


@pytest.mark.slow
def test_an_address_where_nothing_answers_is_refused() -> None:
    """In one sentence."""
    pytest.importorskip("grpc", reason="the client of ray is not installed")
    pytest.importorskip("ray", reason="ray is not installed")
    with pytest.raises(
        OptionError, match=r"--injx-workers=ray://127\.0\.0\.1:9: no cluster of Ray"
    ):
        _ = RayWorkers("ray://127.0.0.1:9").count


ENDED = """
import os, signal, sys, threading, time
from tests.scale.test_ray_workers import naps
from pytest_injectivity.scale import ray_workers
folder = ray_workers._folder
ray_workers._folder = lambda: print(made := folder(), flush=True) or made
workers = ray_workers.RayWorkers(2)
found = workers.map(naps, range(1000))
print(next(found), next(found), flush=True)
if sys.argv[1] == "interrupted":
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    list(found)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit("an error")
"""


def naps(_number: int) -> int:
    """A job of some time."""
    time.sleep(0.2)
    return os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupted", "failed", "killed"])
def test_no_process_outlives_the_run(how: str, tmp_path: Path) -> None:
    """Where nobody closes the workers; what was written goes as well, but where the run is killed."""
    pytest.importorskip("ray", reason="ray is not installed")
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", ENDED, how],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=120,
    )
    assert 0 != done.returncode
    folder, *pids = done.stdout.split()
    left = [*pids_that_stay(folder, *pids)]
    there = Path(folder).exists()
    shutil.rmtree(folder, ignore_errors=True)
    assert ([], how == "killed") == (left, there)


def pids_that_stay(folder: str, *pids: str) -> set[str]:
    """Which processes are there still after some seconds: these, and all that name a folder."""
    left = set(pids)
    for _ in range(200):
        there = {one.name: one for one in Path("/proc").iterdir() if one.name.isdigit()}
        left = {pid for pid, one in there.items() if pid in pids or folder in named_by(one)}
        if not left:
            break
        time.sleep(0.1)
    return left


def named_by(process: Path) -> str:
    """The command line of a process; nothing where it has ended."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


RUN = """
from tests.scale.test_ray_workers import pid_of
from pytest_injectivity.scale.ray_workers import RayWorkers
workers = RayWorkers(2)
print([number for number, _, _ in workers.map(pid_of, range(4))])
workers.close()
"""


@pytest.mark.slow
def test_ray_says_nothing(tmp_path: Path) -> None:
    """Neither banner nor notices, on both streams; a long name of the temporary folder is no matter."""
    pytest.importorskip("ray", reason="ray is not installed")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("[0, 1, 2, 3]\n", "") == (done.stdout, done.stderr)
