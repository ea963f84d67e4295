"""Rows on disk: filled shard by shard, resumed after a kill at any point, never trusted unseen."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.capture import capture
from pytest_injectivity.store.journal import Journal
from pytest_injectivity.store.rows import Rows
from pytest_injectivity.store.shards import ShardLimits
from pytest_injectivity.testing import tiny_decoder

LAYERS: tuple[Layer, ...] = (1, 2, "norm")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


LEAST_SAVING = 32
"""Beginnings shared by few prompts are computed once: the work of a large set in little."""


def prompts(n: int = 40) -> list[list[int]]:
    """Of many lengths, a third behind one beginning."""
    drawn = np.random.default_rng(0)
    beginning = drawn.integers(0, 64, 32).tolist()
    rests = [drawn.integers(0, 64, drawn.integers(1, 30)).tolist() for _ in range(n)]
    return [[*beginning, *rest] if at % 3 == 0 else rest for at, rest in enumerate(rests)]


FEW = ShardLimits(size=2000)
"""Shards of a few prompts."""


def rows_in(folder: Path, dtype: torch.dtype = torch.float32, limits: ShardLimits = FEW) -> Rows:
    """The rows of 40 prompts and a decoder of width 16, as a process of its own sees them."""
    return Rows(
        folder, "rows", prompts=40, hidden=16, dtype=dtype, journal=Journal(), limits=limits
    )


def fill(
    folder: Path,
    decoder: Decoder,
    layers: Sequence[Layer] = LAYERS,
    stop: int | None = None,
    limits: ShardLimits = FEW,
) -> Rows:
    """Captures what is missing; interrupted after ``stop`` passes of the model."""
    rows, passes = rows_in(folder, decoder.dtype, limits), 0
    run = decoder.states

    def counted(*args: object, **kwargs: object) -> object:
        nonlocal passes
        if passes == stop:
            raise KeyboardInterrupt
        passes += 1
        return run(*args, **kwargs)  # type: ignore[arg-type]

    done = {layer: rows.done(layer) for layer in layers}
    with pytest.MonkeyPatch.context() as patch, rows.sink() as sink:
        patch.setattr(decoder, "states", counted)
        capture(
            decoder,
            prompts(),
            layers,
            batch_tokens=200,
            least_saving=LEAST_SAVING,
            sink=sink,
            done=done,
        )
    return rows


def expected(decoder: Decoder, layers: Sequence[Layer] = LAYERS) -> dict[Layer, Tensor]:
    """The rows of one capture in memory."""
    return dict(
        capture(decoder, prompts(), layers, batch_tokens=200, least_saving=LEAST_SAVING).rows
    )


def bits(rows: Tensor) -> bytes:
    """For comparing bit for bit, NaN and -0.0 included."""
    return rows.contiguous().view(torch.uint8).numpy().tobytes()


def assert_bits(rows: Rows, states: dict[Layer, Tensor]) -> None:
    """Every layer on disk has these bits."""
    assert states
    for layer, state in states.items():
        mapped = rows.mapped(layer)
        assert mapped is not None
        assert (state.dtype, state.shape) == (mapped.dtype, mapped.shape)
        assert bits(state) == bits(mapped)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_what_is_read_is_what_was_captured(tmp_path: Path, dtype: str) -> None:
    """In any dtype, by the process that captured and by another one."""
    decoder = tiny_decoder("llama", dtype=DTYPES[dtype])
    states = expected(decoder)
    assert_bits(fill(tmp_path, decoder), states)
    assert_bits(rows_in(tmp_path, dtype=DTYPES[dtype]), states)


def test_a_layers_file_is_its_rows(tmp_path: Path) -> None:
    """Contiguous, in the order of the prompts, with nothing around them."""
    decoder = tiny_decoder("llama")
    rows = fill(tmp_path, decoder)
    assert bits(expected(decoder)[2]) == rows.path(2).read_bytes()


def test_writing_to_the_tensor_leaves_the_file(tmp_path: Path) -> None:
    """It is mapped copy-on-write."""
    rows = fill(tmp_path, tiny_decoder())
    before = rows.path(1).read_bytes()
    mapped = rows.mapped(1)
    assert mapped is not None
    mapped.zero_()
    assert before == rows.path(1).read_bytes()


def test_nothing_is_there_before_it_is_captured(tmp_path: Path) -> None:
    """Neither a layer nor a folder."""
    rows = rows_in(tmp_path / "new")
    assert not rows.done(1).any()
    assert rows.mapped(1) is None
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("stop", [0, 1, 3, 8])
def test_an_error_leaves_whole_shards(tmp_path: Path, stop: int) -> None:
    """What was finished stays; resumed, the bits are those of a capture without a break."""
    decoder = tiny_decoder("llama")
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, decoder, stop=stop)
    there = int(rows_in(tmp_path).done(1).sum())
    assert (there > 0) == (stop > 0)
    assert_bits(fill(tmp_path, decoder), expected(decoder))


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    """Resumed, every prompt is in one shard; with nothing missing there is no pass."""
    decoder = tiny_decoder("llama")
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, decoder, stop=5)
    rows = fill(tmp_path, decoder)
    covered = [prompt for shard in rows.shards().values() for prompt in shard.prompts]
    assert list(range(40)) == sorted(covered)
    assert 2 == len({shard.writer for shard in rows.shards().values()})
    fill(tmp_path, decoder, stop=0)


@pytest.mark.usefixtures("one_thread")
def test_another_layer_is_captured_alone(tmp_path: Path) -> None:
    """Beside half-captured ones, each pass runs what its prompts miss."""
    decoder = tiny_decoder("llama")
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, decoder, [2], stop=5)
    half = rows_in(tmp_path).done(2)
    assert 0 < half.sum() < len(half)
    rows = fill(tmp_path, decoder, [1, 2])
    assert_bits(rows, expected(decoder, [1, 2]))
    again = [
        prompt
        for s in rows.shards().values()
        if {"layer02"} < s.sums.keys()
        for prompt in s.prompts
    ]
    assert np.flatnonzero(~half).tolist() == sorted(again)
    fill(tmp_path, decoder, [1, 2], stop=0)


POINTS = {
    # What is done for the so-manyth time when the process is killed, and the shards recorded by then.
    ("states", 4): 0,
    ("states", 12): 2,
    ("checksum", 1): 0,
    ("checksum", 8): 2,
    ("fsync", 9): 1,
    ("write_record", 3): 2,
    ("replace", 3): 2,
}
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.store import test_rows as here
from pytest_injectivity.store import rows
from pytest_injectivity.testing import tiny_decoder

decoder = tiny_decoder("llama")

def die(point, times, folder):
    owner = {"states": decoder, "checksum": rows, "write_record": rows, "replace": Path,
             "fsync": os}[point]
    run, left = getattr(owner, point), times
    def counted(*args, **kwargs):
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(*args, **kwargs)
    setattr(owner, point, counted)
    here.fill(folder, decoder)
    os._exit(0)

for point, times in here.POINTS:
    child = os.fork()
    if not child:
        die(point, times, Path(sys.argv[1]) / f"{point} {times}")
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of captures that were killed, by point; one process forks them all."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", KILLED, str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert [str(-signal.SIGKILL)] * len(POINTS) == done.stdout.split()
    return folder


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed")
@pytest.mark.parametrize(("point", "times"), POINTS)
def test_a_kill_at_any_point_loses_one_shard(killed: Path, point: str, times: int) -> None:
    """In a pass, between the rows of two layers, before the record, before it has its name."""
    folder, decoder = killed / f"{point} {times}", tiny_decoder("llama")
    before = dict(rows_in(folder).shards())
    assert POINTS[point, times] == len(before)
    rows = fill(folder, decoder)
    assert_bits(rows, expected(decoder))
    # Each prompt is in one shard: what the killed process had recorded was not computed again.
    assert 40 == sum(len(shard.prompts) for shard in rows.shards().values())
    assert before.items() <= rows.shards().items()
    assert not list(folder.rglob(".new-*"))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A complete capture of one layer."""
    fill(tmp_path, tiny_decoder("llama"), [1])
    return tmp_path


def assert_rebuilt(folder: Path, path: Path, damaged: bytes) -> None:
    """A damaged file is noticed; what is captured again is what it was."""
    written = path.read_bytes()
    path.write_bytes(damaged)
    assert rows_in(folder).mapped(1) is None
    decoder = tiny_decoder("llama")
    assert_bits(fill(folder, decoder, [1]), expected(decoder, [1]))
    for record in (folder / "shards").iterdir():
        record.unlink()  # those of the second capture
    fill(folder, decoder, [1])
    if path.parent == folder:
        assert written == path.read_bytes()


@pytest.mark.parametrize("at", [0, 1, 1000, 40 * 64 - 1])
def test_a_damaged_row_is_captured_again(filled: Path, at: int) -> None:
    """One bit of it."""
    path = filled / "layer01.rows"
    written = path.read_bytes()
    assert_rebuilt(filled, path, written[:at] + bytes([written[at] ^ 4]) + written[at + 1 :])


@pytest.mark.parametrize("length", [0, 100, 40 * 64 - 1, 40 * 64 + 1])
def test_a_file_of_another_length_is_captured_again(filled: Path, length: int) -> None:
    """Cut short or grown."""
    path = filled / "layer01.rows"
    assert_rebuilt(filled, path, (path.read_bytes() + b"\0")[:length])


def test_every_byte_of_a_record_counts(filled: Path) -> None:
    """Flipped, its prompts were never captured."""
    (record, *_) = sorted((filled / "shards").iterdir())
    written = record.read_bytes()
    for at in range(len(written)):
        record.write_bytes(written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :])
        assert not rows_in(filled).done(1).all()
    assert_rebuilt(filled, record, written[:-1])


def test_a_record_moved_to_another_name_is_not_believed(filled: Path) -> None:
    """It says which record it is."""
    (record, *_) = sorted((filled / "shards").iterdir())
    record.rename(record.with_name("0" * 16))
    assert not rows_in(filled).done(1).all()


def test_damage_to_one_layer_leaves_the_others(tmp_path: Path) -> None:
    """Only what is asked for is verified, and only what is damaged is captured again."""
    decoder = tiny_decoder("llama")
    path = fill(tmp_path, decoder).path(1)
    path.write_bytes(bytes(path.stat().st_size))
    rows = rows_in(tmp_path)
    assert rows.mapped(1) is None
    assert rows.mapped(2) is not None
    fill(tmp_path, decoder, [2, "norm"], stop=0)
    assert_bits(fill(tmp_path, decoder), expected(decoder))


def test_a_full_disk_is_said_in_a_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the folder's name; nothing is recorded."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OptionError, match=r"rows cannot be written \(No space left on device\)"):
        fill(tmp_path / "rows", tiny_decoder())
    assert {} == rows_in(tmp_path / "rows").shards()


@pytest.mark.parametrize(("seconds", "least", "most"), [(3600.0, 1, 1), (0.0, 6, 40)])
def test_old_shards_are_closed_however_small(
    tmp_path: Path, seconds: float, least: int, most: int
) -> None:
    """On a slow model a kill costs seconds, not 32 MB of rows."""
    limits = ShardLimits(size=10**9, seconds=seconds)
    assert least <= len(fill(tmp_path, tiny_decoder(), limits=limits).shards()) <= most


def test_records_that_may_not_be_read_are_not_missing(filled: Path) -> None:
    """A file in the place of their folder does not mean that nothing was captured."""
    (filled / "shards").rename(filled / "elsewhere")
    (filled / "shards").write_text("no folder")
    with pytest.raises(OptionError, match=r"shards cannot be read \(Not a directory\)"):
        rows_in(filled).done(1)


def test_rows_that_may_not_be_read_are_not_captured_again(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are there; what is wrong is the store."""

    # Not by the file's mode: tests may run as root, who may read all.
    def denied(*_args: object, **_kwargs: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "memmap", denied)
    with pytest.raises(OptionError, match=r"layer01\.rows cannot be read \(Permission denied\)"):
        rows_in(filled).done(1)
