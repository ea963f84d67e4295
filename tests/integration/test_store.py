"""What a run keeps, and what its workers share. Each run starts processes, so tests share them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity.audit.keys import ModelFactsKey
from pytest_injectivity.geometry.keys import NeighborsKey, RowsKey
from pytest_injectivity.store.shards import Shard
from tests.integration.support import Done, output, run_pytest, said
from tests.repetitions import mostly_slow

GATES = """
class TestOne:
    def test_collisions(self, injx):
        injx.assert_no_collisions("all", 1e-6)

    def test_margin(self, injx):
        injx.assert_margin_above("all", EPS)

class TestTwo:
    def test_constant(self, injx):
        injx.assert_colipschitz_above("all", EPS)

    def test_collisions(self, injx):
        injx.assert_no_collisions("all", EPS)
"""


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
) -> Callable[..., Done]:
    """Runs a suite in a process of its own, its temporary folders in one that is looked at."""
    model, prompts = checkpoint("generic"), prompt_file(texts)

    def run(suite: str, *flags: str, folder: Path | None = None) -> Done:
        folder = folder or tmp_path_factory.mktemp("store")
        (folder / "tmp").mkdir(exist_ok=True)
        return run_pytest(
            folder,
            suite,
            *(f"--injx-model={model}", f"--injx-prompts={prompts}", "--injx-device=cpu", *flags),
            TMPDIR=str(folder / "tmp"),
        )

    return run


def shards_of(store: Path) -> list[Shard]:
    """The records of a store's shards, whoever wrote them."""
    digest = 32
    return [Shard.from_json(path.read_bytes()[digest:]) for path in store.rglob("shards/*")]


WRITERS = """
import pytest
from pathlib import Path
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.models import loading

def noted(name):
    with Path("computed.txt").open("a") as file:
        file.write(name + "\\n")

@pytest.fixture(scope="session", autouse=True)
def _noted():
    write = Entry._write
    def writing(self, key, value):
        noted(key.text)
        write(self, key, value)
    Entry._write = writing
"""


@pytest.fixture(scope="module")
def shared(run: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Two workers that need the same rows and numbers at once."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    folder = tmp_path_factory.mktemp("shared")
    (folder / "conftest.py").write_text(WRITERS)
    suite = GATES.replace("EPS", "1e-9")
    return run(suite, "-n2", "--dist=loadscope", "--injx-cache-dir=store", folder=folder)


@pytest.mark.slow
def test_of_two_workers_one_captures(shared: Done) -> None:
    """Counted by who wrote the shards: each row once."""
    assert pytest.ExitCode.OK == shared.status, shared.text
    shards = shards_of(shared.folder / "store")
    assert list(range(12)) == sorted(prompt for shard in shards for prompt in shard.prompts)
    assert 1 == len({shard.writer for shard in shards})


@pytest.mark.slow
def test_no_number_is_computed_by_both(shared: Done) -> None:
    """Whoever comes second reads."""
    computed = (shared.folder / "computed.txt").read_text().splitlines()
    assert NeighborsKey(RowsKey(1)).text in computed
    assert len(computed) == len(set(computed))
    assert "numbers computed" in " ".join(shared.text.split())


NO_WEIGHTS = """
import pytest
from pytest_injectivity.models import loading

@pytest.fixture(scope="session", autouse=True)
def _no_weights():
    def refuse(*args, **kwargs):
        raise AssertionError("weights were loaded")
    loading.load = refuse
"""


@pytest.mark.slow
def test_another_run_with_other_thresholds_loads_no_weights(
    run: Callable[..., Done], shared: Done
) -> None:
    """It says where its numbers come from; near pairs of another eps are found in stored states."""
    (shared.folder / "conftest.py").write_text(NO_WEIGHTS)
    suite = GATES.replace("EPS", "1e-7")
    done = run(suite, "--injx-cache-dir=store", folder=shared.folder)
    assert pytest.ExitCode.OK == done.status, done.text
    assert "in part from the store layer" in " ".join(done.text.split())


@pytest.mark.parametrize(
    "ends",
    mostly_slow(
        ["assert False", "raise KeyboardInterrupt", "import pytest; pytest.exit('over')"],
        "raise KeyboardInterrupt",
    ),
)
def test_without_a_cache_nothing_is_left_however_a_run_ends(
    audited: Callable[..., pytest.RunResult],
    ends: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Failed, interrupted, exited."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    suite = f"def test_one(injx):\n    print('FOLDER', injx.target.kept.store.folder)\n    {ends}\n"
    try:
        result = audited(suite, "--injx-no-cache", "-s")
        assert f"FOLDER {tmp_path}/pytest-injectivity-" in output(result)
    except KeyboardInterrupt:
        assert "Interrupt" in ends
    assert [] == list(tmp_path.glob("pytest-injectivity-*"))


KILLED = """
import os, signal, time
from pathlib import Path
import pytest
from functools import partialmethod
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.store.rows import Rows
from pytest_injectivity.store.shards import ShardLimits

@pytest.fixture(scope="session", autouse=True)
def _killed():
    Entry.rows = partialmethod(Entry.rows, limits=ShardLimits(size=200))
    add = Rows.add
    def counted(self, *args):
        add(self, *args)
        if not Path("killed.txt").exists() and len(self.shards()) == 2:
            Path("killed.txt").write_text(self.journal.writer)
            os.kill(os.getpid(), signal.SIGKILL)
    Rows.add = counted
"""


SEEN = """
import json
from pathlib import Path

def test_one(injx):
    injx.assert_margin_above(1, margin=1e-12)
    shards = injx.measurements.layers.rows.shards().values()
    seen = [str(injx.target.kept.store.folder), [[s.writer, s.prompts] for s in shards]]
    Path("seen.json").write_text(json.dumps(seen))

def test_other(injx):
    test_one(injx)
"""


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_loses_nothing(
    run: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another one goes on from its shards, in the run's own folder, which the controller removes.

    No row and no number is computed twice.
    """
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    folder = tmp_path_factory.mktemp("killed")
    (folder / "conftest.py").write_text(WRITERS + KILLED)
    flags = ("-n2", "--injx-no-cache", "--injx-cache-dir=store", "--injx-batch-tokens=64")
    done = run(SEEN, *flags, folder=folder)
    assert pytest.ExitCode.TESTS_FAILED == done.status, done.text
    assert "1 passed" in done.text
    assert "the run was incomplete" in done.text
    scratch, shards = json.loads((folder / "seen.json").read_text())
    assert list(range(12)) == sorted(prompt for _, prompts in shards for prompt in prompts)
    killed = (folder / "killed.txt").read_text()
    assert 2 == sum(writer == killed for writer, _ in shards)
    assert 2 == len({writer for writer, _ in shards})
    computed = (folder / "computed.txt").read_text().splitlines()
    assert {ModelFactsKey().text, NeighborsKey(RowsKey(1)).text} <= set(computed)
    assert len(computed) == len(set(computed))
    assert Path(scratch).parent == folder / "tmp"
    assert [] == list((folder / "tmp").glob("pytest-injectivity-*"))
    assert not (folder / "store").exists()


def test_a_folder_that_is_no_store_is_wrong_use(
    audited: Callable[..., pytest.RunResult], tmp_path: Path
) -> None:
    """One paragraph, exit status 4, and the folder stays as it is."""
    (tmp_path / "thesis.txt").write_text("mine")
    suite = "def test_one(injx):\n    injx.assert_margin_above(1, margin=1e-12)\n"
    result = audited(suite, f"--injx-cache-dir={tmp_path}")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "is no store and holds other things ('thesis.txt')" in said(result)
    assert ["thesis.txt"] == [path.name for path in tmp_path.iterdir()]


def test_help_says_how_sensitive_a_store_is(pytester: pytest.Pytester) -> None:
    """And how it is emptied."""
    text = said(pytester.runpytest_inprocess("--help"))
    assert "as sensitive as the prompts: only you can read it, and pytest-injectivity purge" in text
