"""Which kinds of quantized checkpoints are read, and why others are not."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.errors import MissingExtra, ModelError
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.quantization import formats as kinds
from pytest_injectivity.quantization.formats import TABLE, Kind, installed, of_config, traces
from pytest_injectivity.quantization.stored_tensors import StoredTensor
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

READ = [name for name, kind in TABLE.items() if not kind.refused]
PLAIN = StoredTensor("F32", (2, 2))
REFUSED = [name for name, kind in TABLE.items() if kind.refused]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tiny_decoder("llama"), tmp_path / "checkpoint")


def _configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("method", TABLE)
def test_a_configuration_names_its_kind(method: str) -> None:
    """By the library's own word."""
    assert TABLE[method] is of_config({"quantization_config": {"quant_method": method}}, "it")


@pytest.mark.parametrize("flag", ["load_in_4bit", "load_in_8bit"])
def test_flags_of_old_mean_bitsandbytes(flag: str) -> None:
    """Checkpoints from before there was a method."""
    assert TABLE["bitsandbytes"] is of_config({"quantization_config": {flag: True}}, "it")


@pytest.mark.parametrize("config", [{}, {"quantization_config": None}, {"quantization_config": {}}])
def test_full_precision_is_no_kind(config: dict[str, Any]) -> None:
    """Nothing is said, or nothing in so many words."""
    assert of_config(config, "it") is None


@pytest.mark.parametrize("method", [name for name in READ if name != "gguf"])
def test_a_missing_package_names_its_extra(
    method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every package that is missing."""
    monkeypatch.setattr(kinds, "_version", lambda _name: None)
    _configure(folder, quantization_config={"quant_method": method})
    with pytest.raises(MissingExtra) as caught:
        load_decoder(str(folder))
    kind = TABLE[method]
    needed = " and ".join(kind.packages)
    assert f"{folder}: quantization with {method} needs {needed}: pip install" in str(caught.value)
    assert str(caught.value).endswith(f"pytest-injectivity[{kind.extra}]")


def test_a_missing_package_of_a_file_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .gguf file is a kind of its own."""
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(kinds, "_version", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"gguf needs gguf and accelerate.*\[gguf\]$"):
        load_decoder(str(tmp_path / "model.gguf"))


@pytest.mark.parametrize("method", REFUSED)
def test_what_is_not_read_says_why(method: str, folder: Path) -> None:
    """And what is read instead."""
    _configure(folder, quantization_config={"quant_method": method})
    with pytest.raises(ModelError) as caught:
        load_decoder(str(folder))
    assert f"quantized with {method}, which is not read: {TABLE[method].refused}" in str(
        caught.value
    )
    assert str(caught.value).endswith(f"{', '.join(READ)} are")


def test_a_folder_of_quantos_own_is_refused(folder: Path) -> None:
    """Its configuration names no quantization, and the library would fill in random weights."""
    (folder / "quanto_qmap.json").write_text("{}")
    with pytest.raises(ModelError, match="quantized with quanto, which is not read"):
        load_decoder(str(folder))


def test_every_extra_is_in_the_package_metadata() -> None:
    """An error that names an extra nobody can install helps nobody."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    for method in READ:
        kind = TABLE[method]
        listed = [one.partition(">=")[0] for one in extras[kind.extra]]
        assert set(kind.packages) <= set(listed)


def test_only_installed_packages_have_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there computes nothing."""
    monkeypatch.setattr(kinds, "_version", {"torchao": "0.18"}.get)
    assert {"torchao": "0.18"} == installed()
    assert {} == installed(Kind("mine", ("nothing",)))


@pytest.mark.parametrize(
    "name",
    ["w.weight_scale_inv", "q.qweight", "q.SCB", "w.weight.absmax", "w.weight._data"],
)
def test_traces_of_quantization_are_seen(name: str) -> None:
    """Names that only quantized checkpoints have."""
    assert [name] == traces({"a.weight": PLAIN, name: PLAIN})


def test_float8_is_a_trace() -> None:
    """No matrix of full precision has eight bits."""
    assert ["w"] == traces({"w": StoredTensor("F8_E4M3", (2, 2)), "v": PLAIN})
