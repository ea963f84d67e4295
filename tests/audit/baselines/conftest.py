"""An audit with a folder for its baselines, and what records one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.testing import plant_nan, save_checkpoint, tiny_decoder

IDS = [[at, at + 1, 9] for at in range(8)]

Make = Callable[..., Audit]
Record = Callable[..., Path]


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and prompts."""
    folder = tmp_path_factory.mktemp("things")
    save_checkpoint(tiny_decoder(layers=2), folder / "model")
    save_checkpoint(plant_nan(tiny_decoder(layers=2), 2), folder / "nan")
    for name, ids in (("prompts", IDS), ("fewer", IDS[:7]), ("others", [*IDS[:7], [40, 2, 3]])):
        rows = [json.dumps({"ids": one}) for one in ids]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def make(things: Path, tmp_path: Path) -> Make:
    """An audit with a baseline folder of the test's own."""

    def make(model: str = "model", prompts: str = "prompts", **config: Any) -> Audit:
        paths = {"model": str(things / model), "prompts": str(things / f"{prompts}.jsonl")}
        # One store for all tests: what is tested is what becomes of the numbers.
        kept = {"baseline": str(tmp_path / "baselines"), "cache_dir": str(things / "store")}
        own = {name: config.pop(name) for name in ("watcher",) if name in config}
        return Audit(AuditConfig(**{**paths, **kept, "device": "cpu", **config}), **own)

    return make


@pytest.fixture
def record(make: Make) -> Record:
    """Records a baseline and says where it is."""

    def record(layer: Any = None, bits: Any = None, **config: Any) -> Path:
        audit = make(update_baseline=True, **config)
        audit.assert_matches_baseline(layer, bits=bits)
        audit.baseline.update()
        return audit.baseline.path

    return record


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the JSON of a file."""
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def scale(path: Path, name: str, factor: float, layer: str = "layer02") -> float:
    """Multiplies a recorded number; returns what it was."""
    numbers = json.loads(path.read_text())["layers"][layer]
    edit(path, lambda plain: plain["layers"][layer].update({name: numbers[name] * factor}))
    return float(numbers[name])
