"""What an audit keeps between runs: nothing is computed twice, nothing damaged is believed."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, OptionError
from pytest_injectivity.models import loading
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.store.shards import ShardLimits
from pytest_injectivity.store.store import Store
from pytest_injectivity.testing import (
    byte_tokenizer,
    plant_equal_embeddings,
    save_checkpoint,
    tiny_decoder,
)
from tests.audits import Witness, small_samples

pytestmark = pytest.mark.usefixtures("empty_store")

TEXTS = [f"{word} {number}{word[::-1]}" for word in ("quagmire", "fen") for number in range(8)]
LAYERS = (1, 2, "norm")


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    small_samples(monkeypatch)


def _files(folder: Path) -> dict[str, Any]:
    """A checkpoint with two equal embedding rows, prompts of which some collide, and a store."""
    if not (folder / "model").exists():
        decoder = tiny_decoder(vocab=256, tokenizer=byte_tokenizer())
        save_checkpoint(plant_equal_embeddings(decoder, ord("0"), ord("7")), folder / "model")
        rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
        (folder / "p.jsonl").write_text(rows)
    return {
        "model": str(folder / "model"),
        "prompts": str(folder / "p.jsonl"),
        "device": "cpu",
        "cache_dir": str(folder / "store"),
    }


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A checkpoint and prompts; the store is not there yet."""
    return _files(tmp_path)


def everything(audit: Audit, eps: float = 1e-6, bound: float = 1e-12) -> str:
    """Every kind of check, and every number of every layer, as text."""
    verdicts = [
        audit.check_no_collisions("0,all", eps=eps),
        audit.check_no_collisions("all", eps=eps, bits=4),
        audit.check_margin_above("all", bound, confidence=0.9),
        audit.check_colipschitz_above("all", bound),
        audit.check_bilipschitz_within("all", 10.0 + bound),
        audit.check_sipit_recovers(1, prompts=3, tokens=5, min_rate=0.5 - bound),
    ]
    layers = [audit.layer_summary(layer, bits) for layer in LAYERS for bits in (None, 4)]
    return "\n".join([*(verdict.text for verdict in verdicts), *map(repr, layers)])


@pytest.fixture(scope="module")
def _seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store has seen every check once."""
    folder = tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as patch:
        small_samples(patch)
        audit = Audit(AuditConfig(**_files(folder)))
        everything(audit)
    assert "computed" == audit.run_summary().numbers
    return folder


@pytest.fixture
def warm(_seen: Path, tmp_path: Path) -> dict[str, Any]:
    """A copy of its own of the files and of the store that has seen every check."""
    shutil.copytree(_seen, tmp_path, dirs_exist_ok=True)
    return _files(tmp_path)


@pytest.fixture
def no_weights(warm: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading weights is an error from here on; the store has seen every check."""
    assert warm

    def refuse(*_args: object, **_kwargs: object) -> Decoder:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(loading, "load", refuse)


def cold_text(files: dict[str, Any], **thresholds: float) -> str:
    """The text of an audit with a store of its own."""
    return everything(Audit(AuditConfig(**{**files, "no_cache": True}), key=b"k"), **thresholds)


def text(files: dict[str, Any], **thresholds: float) -> str:
    """The text of an audit; none says how long something took."""
    return everything(Audit(AuditConfig(**files), key=b"k"), **thresholds)


def same(left: str, right: str) -> bool:
    """Equal to the last character."""
    return left == right


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("thresholds", [{}, {"eps": 1e-3, "bound": 0.25}])
def test_a_second_run_loads_no_weights(
    warm: dict[str, Any], thresholds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its thresholds; its words are those of a run without a store."""
    with pytest.raises(AssertionError, match="weights were loaded"):
        cold_text(warm)
    audit = Audit(AuditConfig(**warm), key=b"k")
    found = everything(audit, **thresholds)
    assert "from the store" == audit.run_summary().numbers.removeprefix("computed, in part ")
    monkeypatch.undo()
    small_samples(monkeypatch)
    assert same(cold_text(warm, **thresholds), found)


@pytest.mark.usefixtures("no_weights")
def test_the_same_checkpoint_elsewhere_is_known(warm: dict[str, Any], tmp_path: Path) -> None:
    """By its content, whatever its path; prompts by their ids, whatever their file."""
    shutil.copytree(warm["model"], tmp_path / "copy")
    shutil.copy(warm["prompts"], tmp_path / "q.jsonl")
    moved = {**warm, "model": str(tmp_path / "copy"), "prompts": str(tmp_path / "q.jsonl")}
    # Two of its prompts collide, and that is known without the weights.
    assert "FAIL" == str(Audit(AuditConfig(**moved)).check_margin_above("all", 1e-12).status)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    "other",
    [
        {"dtype": "float64"},
        {"batch_tokens": 64},
        {"max_prompts": 9},
        {"length": 3},
        {"prompts": "builtin:random"},
    ],
    ids=str,
)
def test_what_changes_a_state_is_in_the_key(warm: dict[str, Any], other: dict[str, Any]) -> None:
    """Another setting needs the weights."""
    with pytest.raises(AssertionError, match="weights were loaded"):
        Audit(AuditConfig(**{**warm, **other})).states(1)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_another_checkpoint_is_another_one(warm: dict[str, Any], name: str) -> None:
    """One byte is enough, its times set back."""
    path = Path(warm["model"]) / name
    status, written = path.stat(), path.read_bytes()
    path.write_bytes(written[:-1] + (b" " if name.endswith("json") else b"\1"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(AssertionError, match="weights were loaded"):
        _ = Audit(AuditConfig(**warm)).facts


def test_another_layer_captures_what_is_missing(files: dict[str, Any]) -> None:
    """And nothing else; its neighbors' rows are read."""
    first = Audit(AuditConfig(**files, layers="1"))
    one = first.states(1)
    later = Audit(AuditConfig(**files, layers="1,2"))
    assert one.equal(later.states(1))
    assert not later.target.loaded
    later.states(2)
    recorded = [set(shard.sums) for shard in later.measurements.layers.rows.shards().values()]
    assert [{"layer01"}, {"layer02"}] == sorted(recorded, key=sorted)


def _small_files(store: Path) -> Iterator[Path]:
    for path in sorted(store.rglob("*")):
        if path.is_file() and path.suffix not in {".lock", ".rows"} and path.stat().st_size:
            yield path


def test_a_damaged_store_is_never_believed(files: dict[str, Any], tmp_path: Path) -> None:
    """One byte of any file flipped: what is measured is what a fresh run measures, or an error."""

    def measured() -> list[Any]:
        audit = Audit(AuditConfig(**files, layers="1"), key=b"k")
        geometry = audit.geometry(1)
        found = [
            audit.facts,
            audit.prompts.hash,
            audit.resolution(1).later.scale.values.tobytes(),
            geometry.nearest.index.tolist(),
        ]
        return [*found, geometry.nearest.distance.tobytes(), audit.states(1).tolist()]

    fresh, store = measured(), tmp_path / "store"
    assert fresh == measured()
    seen = set()
    for path in [*_small_files(store), *store.rglob("*.rows")]:
        size = path.stat().st_size
        places = range(0, size, max(1, size // 3))
        seen.add(path.parent.name)
        for at in places:
            written = path.read_bytes() if path.exists() else b""
            if at >= len(written):
                continue
            path.write_bytes(written[:at] + bytes([written[at] ^ 0x11]) + written[at + 1 :])
            try:
                assert fresh == measured()
            except OptionError:
                assert path.name == "CACHEDIR.TAG"
                path.write_bytes(written)
    assert {"shards", "rows", "store"} <= seen


def test_no_prompt_is_written(warm: dict[str, Any], tmp_path: Path) -> None:
    """No text, no token ids in any encoding a number has; nothing is pickled."""
    audit = Audit(AuditConfig(**warm))
    content = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*.*"))
    content += b"".join(path.read_bytes() for path in _small_files(tmp_path / "store"))
    for ids in audit.prompts.ids:
        for plain in (bytes(ids), str(list(ids))[1:-1].encode()):
            assert plain not in content
        for width in ("int32", "int64"):
            encoded = torch.tensor(ids[:4], dtype=getattr(torch, width)).numpy().tobytes()
            assert encoded not in content
    assert b"quagmire" not in content


def test_without_a_cache_nothing_is_left(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after the audit is gone; while it is there, it is its owner's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    audit = Audit(AuditConfig(**{**files, "no_cache": True}))
    audit.states(1)
    (folder,) = tmp_path.glob("pytest-injectivity-*")
    assert Store.is_at(folder)
    assert 0o700 == folder.stat().st_mode & 0o777
    del audit
    gc.collect()
    assert not folder.exists()
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_is_wrong_use(files: dict[str, Any]) -> None:
    """Said when it is needed, before any weights are loaded."""
    audit = Audit(AuditConfig(**{**files, "cache_dir": files["prompts"]}))
    with pytest.raises(OptionError, match=r"--injx-cache-dir: .*p\.jsonl is a file: give a folder"):
        audit.states(1)
    assert not audit.target.loaded


def test_beyond_the_budget_rows_are_mapped_and_layers_let_go(files: dict[str, Any]) -> None:
    """The numbers are the same; the table keeps its rows."""
    rich = Audit(AuditConfig(**files, memory_budget="1GB"))
    held = rich.geometry(1)
    poor = Audit(AuditConfig(**files, memory_budget=2000))
    for layer in LAYERS:
        assert rich.states(layer).equal(poor.states(layer))
        assert rich.geometry(layer).margin() == poor.geometry(layer).margin()
        assert rich.geometry(layer, bits=4).margin() == poor.geometry(layer, bits=4).margin()
    assert held is rich.geometry(1)
    last, first = poor.geometry("norm", bits=4), poor.geometry(1)
    assert last is not poor.geometry("norm", bits=4)
    assert first is not poor.geometry(1)
    assert rich.measurements.measured == poor.measurements.measured


def test_more_states_than_a_store_may_hold_are_told(files: dict[str, Any]) -> None:
    """They are needed now; nothing is left out in silence."""
    witness = Witness()
    Audit(AuditConfig(**files, cache_size=100), watcher=witness).states(1)
    (told,) = [one for one in witness.sentences if "cache-size" in one]
    assert "states of 3,072 bytes are kept beyond --injx-cache-size=100 until another" in told


KILLED = """
import os, signal, sys
from pytest_injectivity import Audit, AuditConfig
from functools import partialmethod
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.store.rows import Rows
from pytest_injectivity.store.shards import ShardLimits

Entry.rows = partialmethod(Entry.rows, limits=ShardLimits(size=200))
written = Rows.add

def add(self, *args):
    written(self, *args)
    if len(self.shards()) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

Rows.add = add
model, prompts, store = sys.argv[1:]
config = AuditConfig(model=model, prompts=prompts, device="cpu", batch_tokens=64, cache_dir=store)
Audit(config).states(1)
"""


@pytest.mark.slow  # a process of its own loads torch
def test_a_killed_run_is_resumed(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next one; the rows are those of a run that was not killed."""
    few = partialmethod(Entry.rows, limits=ShardLimits(size=200))
    monkeypatch.setattr(Entry, "rows", few)
    arguments = [files["model"], files["prompts"], files["cache_dir"]]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)  # noqa: S603 - python itself
    assert -signal.SIGKILL == done.returncode
    audit = Audit(AuditConfig(**files, batch_tokens=64))
    before = set(audit.measurements.layers.rows.shards())
    assert 2 == len(before)
    witness = Witness()
    audit.target.watcher = witness
    fresh = Audit(AuditConfig(**{**files, "cache_dir": str(tmp_path / "new")}, batch_tokens=64))
    for layer in LAYERS:
        assert fresh.states(layer).equal(audit.states(layer))
    assert len(TEXTS) == witness.works[0][2][-1]
    writers = {shard.writer for shard in audit.measurements.layers.rows.shards().values()}
    assert 2 == len(writers)
    assert before < set(audit.measurements.layers.rows.shards())
    assert "computed, in part from the store" == audit.run_summary().numbers
