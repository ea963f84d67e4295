"""The contract of the table of formats, held for every row; and what is looked up in it."""

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from pytest_injectivity.errors import MissingExtra, ModelError
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.quantization.formats import base
from pytest_injectivity.quantization.formats.base import Format, Signs
from pytest_injectivity.quantization.formats.registry import (
    FORMATS,
    detect,
    format_for,
    installed,
    packed,
    traces,
)
from pytest_injectivity.quantization.stored_tensors import StoredTensor
from pytest_injectivity.quantization.while_loading import WHILE_LOADING
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

ROOT = Path(__file__).parents[3]
_GROUPS = {"group_size": 64, "bits": 4}
PLAIN = StoredTensor("F32", (2, 2))
READ = [row for row in FORMATS if not row.refused]
REFUSED = [row for row in FORMATS if row.refused]


def _named(row: Format) -> str:
    return row.name


def _signs(method: object) -> Signs:
    return Signs({"quantization_config": {"quant_method": method}})


def _examples(row: Format) -> list[Signs]:
    """Signs of checkpoints of a format."""
    more = {
        "bitsandbytes": [
            Signs({"quantization_config": {"load_in_4bit": True}}),
            Signs({"quantization_config": {"load_in_8bit": True}}),
        ],
        "gguf": [Signs({}, frozenset({"model-Q4_0.gguf"}))],
        "quanto": [Signs({"model_type": "llama"}, frozenset({"quanto_qmap.json"}))],
        "modelopt": [Signs({"model_type": "llama"}, frozenset({"hf_quant_config.json"}))],
        "mlx": [
            Signs({"quantization": _GROUPS}),
            Signs({"quantization": _GROUPS, "quantization_config": _GROUPS}),
        ],
        "compression_config": [
            Signs({"compression_config": {"quant_method": "compressed-tensors"}})
        ],
        "quantize_config.json": [Signs({}, frozenset({"quantize_config.json"}))],
        "quant_config.json": [Signs({}, frozenset({"quant_config.json"}))],
        "quantization_config of a part": [
            Signs({"text_config": {"quantization_config": {"quant_method": "fp8"}}}),
        ],
    }
    return [_signs(method) for method in row.methods] + more.get(row.name, [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tiny_decoder("llama"), tmp_path / "checkpoint")


def _configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class TestContract:
    """What every row keeps, and the whole table together."""

    @pytest.mark.parametrize("attribute", ["name", "methods", "while_loading", "traces"])
    def test_no_two_rows_share_a_name(self, attribute: str) -> None:
        """Names, methods, and what can be quantized to belong to one row; traces may to AWQ and GPTQ."""
        values = [getattr(row, attribute) for row in FORMATS]
        flat = [one for value in values for one in ([value] if attribute == "name" else value)]
        assert flat
        shared = {one for one, count in Counter(flat).items() if count > 1}
        assert ({".qweight"} if attribute == "traces" else set()) == shared

    @pytest.mark.parametrize("row", FORMATS, ids=_named)
    def test_a_row_is_detected_by_its_own_signs_alone(self, row: Format) -> None:
        """Every example of a format is a checkpoint of that format and of no other."""
        examples = _examples(row)
        assert examples
        assert [[row]] * len(examples) == [
            [one for one in FORMATS if one.detect(signs)] for signs in examples
        ]
        assert [row] * len(examples) == [detect(signs, "it") for signs in examples]

    @pytest.mark.parametrize("row", FORMATS, ids=_named)
    def test_full_precision_is_of_no_format(self, row: Format) -> None:
        """Neither the configuration, nor a tensor's name, nor a plain layer shows any."""
        layer = nn.Linear(4, 4)
        assert not row.detect(Signs({"model_type": "llama"}, frozenset({"model.safetensors"})))
        assert [] == row.stored({"model.layers.0.mlp.up_proj.weight": PLAIN})
        assert row.packed(layer, layer.weight) is None

    @pytest.mark.parametrize("row", [row for row in READ if row.packages], ids=_named)
    def test_the_extra_installs_the_packages(self, row: Format) -> None:
        """An error that names an extra nobody can install helps nobody."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extra = project["optional-dependencies"][row.extra]
        assert set(row.packages) <= {one.partition(">=")[0] for one in extra}

    def test_what_is_decoded_here_needs_no_package(self) -> None:
        """Weights that this package decodes are read by the plain installation."""
        alone = {row.name for row in READ if not row.packages}
        decoded = {
            "fp8",
            "fbgemm_fp8",
            "modelopt",
            "mxfp4",
            "gptq",
            "awq",
            "auto-round",
            "hqq",
            "quark",
        }
        assert decoded == alone
        assert {""} == {row.extra for row in READ if not row.packages}

    @pytest.mark.parametrize("row", REFUSED, ids=_named)
    def test_a_refused_format_needs_nothing(self, row: Format) -> None:
        """It names no package and no extra that would not help."""
        assert ((), "", ()) == (row.packages, row.extra, row.while_loading)

    @pytest.mark.parametrize("name", WHILE_LOADING)
    def test_each_name_of_the_option_has_a_row(self, name: str) -> None:
        """The row's extra is the one that the option's help names."""
        row = format_for(name)
        assert row is not None
        assert WHILE_LOADING[name] == row.extra

    def test_the_option_has_every_name_of_the_rows(self) -> None:
        """The list that options read without torch is that of the table."""
        assert set(WHILE_LOADING) == {name for row in FORMATS for name in row.while_loading}


@pytest.mark.parametrize("key", ["quantize_config.json", "quant_config.json", "compression_config"])
def test_what_an_older_writer_left_beside_quantization_config_is_let_be(key: str) -> None:
    """The library reads quantization_config; a second place that says the same is no second format."""
    config = {**_signs("gptq").config, "compression_config": {"quant_method": "gptq"}}
    found = detect(Signs(config, frozenset({key})), "it")
    assert found is not None
    assert "gptq" == found.name


@pytest.mark.parametrize("config", [{}, {"quantization_config": None}, {"quantization_config": {}}])
def test_a_silent_configuration_is_of_no_format(config: dict[str, Any]) -> None:
    """Nothing is said of a quantization, or nothing in so many words."""
    assert detect(Signs(config), "it") is None


def test_signs_of_two_formats_are_refused() -> None:
    """Which of the two would be loaded is not guessed."""
    signs = Signs(_signs("torchao").config, frozenset({"quanto_qmap.json"}))
    with pytest.raises(ModelError, match=r"^it has the signs of torchao and quanto: "):
        detect(signs, "it")


@pytest.mark.parametrize("row", [row for row in READ if row.methods and row.packages], ids=_named)
def test_a_missing_package_names_its_extra(
    row: Format, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names every package that is missing."""
    monkeypatch.setattr(base, "installed_version", lambda _name: None)
    _configure(folder, quantization_config={"quant_method": row.methods[0]})
    with pytest.raises(MissingExtra) as caught:
        load_decoder(str(folder))
    needed = " and ".join(row.packages)
    assert f"{folder}: quantization with {row.name} needs {needed}: pip install" in str(
        caught.value
    )
    assert str(caught.value).endswith(f"pytest-injectivity[{row.extra}]")


def test_a_missing_package_of_a_file_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .gguf file is refused before the library is asked to read it."""
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(base, "installed_version", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"gguf needs gguf and accelerate.*\[gguf\]$"):
        load_decoder(str(tmp_path / "model.gguf"))


@pytest.mark.parametrize("row", REFUSED, ids=_named)
def test_what_is_not_read_says_why(row: Format, folder: Path) -> None:
    """The message says what is read instead."""
    signs = _examples(row)[0]
    _configure(folder, **signs.config)
    for name in signs.files:
        (folder / name).write_text("{}")
    with pytest.raises(ModelError) as caught:
        load_decoder(str(folder))
    assert f"quantized with {row.name}, which is not read: {row.refused}" in str(caught.value)
    assert str(caught.value).endswith(f"{', '.join(map(_named, READ))} are")


def test_a_folder_of_quantos_own_is_refused(folder: Path) -> None:
    """Its configuration names no quantization, and the library would fill in random weights."""
    (folder / "quanto_qmap.json").write_text("{}")
    with pytest.raises(ModelError, match="quantized with quanto, which is not read"):
        load_decoder(str(folder))


def test_only_installed_packages_have_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed computes nothing and has no version."""
    registry = "pytest_injectivity.quantization.formats.registry.installed_version"
    monkeypatch.setattr(registry, {"torchao": "0.18"}.get)
    assert {"torchao": "0.18"} == installed()


@pytest.mark.parametrize(
    "name",
    [
        "w.weight_scale_inv",
        "q.qweight",
        "q.SCB",
        "w.weight.absmax",
        "w.weight._data",
        "w.weight_packed",
    ],
)
def test_traces_of_quantization_are_seen(name: str) -> None:
    """Names that only quantized checkpoints have are told from plain ones."""
    assert [name] == traces({"a.weight": PLAIN, name: PLAIN})


def test_float8_is_a_trace() -> None:
    """No matrix of full precision has eight bits."""
    assert ["w"] == traces({"w": StoredTensor("F8_E4M3", (2, 2)), "v": PLAIN})


def test_a_layer_of_no_format_is_not_packed() -> None:
    """A plain linear layer has no few-bit matrix."""
    assert packed(nn.Linear(2, 2)) is None
