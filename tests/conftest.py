"""Settings of every test."""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported: two workers with two spinning threads each are twelve times slower than
# two with one. One thread is also what makes a row's bits independent of its batch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A name that is no folder may be one of the hub: no test asks there, and waits for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import settings

from pytest_injectivity.core.threads import on_threads
from tests import shape_checks

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = Path(__file__).parents[1] / "pytest_injectivity"
_SHARED = Path(__file__).parents[2] / "shared" / "models"
_STORES = 4 * 2**30  # more bytes than the stores of all tests take


def modules_with_shapes() -> list[str]:
    """The modules of the package whose signatures have shapes.

    Those of ``audit/checks`` and ``audit/judging`` are left out: users' arguments reach them as they
    are, to be refused with words of their own.
    """
    files = (file for file in PACKAGE.rglob("*.py") if "core.shapes import" in file.read_text())
    names = (file.relative_to(PACKAGE.parent).with_suffix("").parts for file in sorted(files))
    unchecked = {("audit", "checks"), ("audit", "judging")}
    return [".".join(name) for name in names if name[1:3] not in unchecked]


shape_checks.install(modules_with_shapes())

# No deadline: the first example of a test pays for imports, and machines are shared. The same examples
# in every run: a red run must be one's own; `--hypothesis-profile=default` looks for new ones.
# Few examples, so that the default run stays under five minutes; before a release, or after a change of
# what they test: --hypothesis-profile=thorough.
settings.register_profile("pytest_injectivity", deadline=None, derandomize=True, max_examples=15)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("pytest_injectivity")


def pytest_collection() -> None:
    """What is imported and collected stays: looking for garbage in it takes a sixth of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Modules stay until the end: whoever collects garbage, which audits do, need not go through them.

    A collection takes a quarter of a second otherwise, several times an audit.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _caches() -> Iterator[Path]:
    """Stores made while fixtures of a wider scope are set up: never the developer's own.

    Their files are not forced to the disk, which no test can see and each of thousands waits for; where
    there is room they lie in memory, because thousands of stores take long to be removed from a disk.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is made by mkdtemp
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _STORES
    place = memory if roomy else None
    folder = Path(tempfile.mkdtemp(prefix="pytest-injectivity-tests-", dir=place))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_cache(
    _caches: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Each test begins with an empty store: what another one computed is not read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(_caches / hex(id(request.node))))


@pytest.fixture
def relative() -> "Callable[[Tensor, Tensor], float]":
    """The norm of a difference by the norm of what was expected, in float64."""

    def difference(found: "Tensor", expected: "Tensor") -> float:
        found, expected = found.double(), expected.double()
        return float((found - expected).norm() / expected.norm())

    return difference


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What is said of bits is said of one thread count."""
    with on_threads(1):
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Passes that run two at a time have one thread each."""
    with on_threads(2):
        yield


@pytest.fixture
def shared_model() -> Callable[[str], str]:
    """The folder of a small trained model; skips the test where there is none."""

    def folder(name: str) -> str:
        if not (_SHARED / name / "config.json").is_file():
            pytest.skip(f"the trained model {name} is not on this machine")
        return str(_SHARED / name)

    return folder
