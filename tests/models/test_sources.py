import re
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.checkpoint import resolve
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.sources import locate
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub client's own cache, offline, holding org/tiny at one commit."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repo = tmp_path / "models--org--tiny"
    save_checkpoint(tiny_decoder(layers=3), repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    return repo


def test_a_folder_is_itself(tmp_path: Path) -> None:
    """A local folder has no revision."""
    located = locate(str(tmp_path))
    assert (tmp_path, None) == (located.folder, located.revision)


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde stands for the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert tmp_path / "model" == locate("~/model").folder


def test_the_shipped_model_is_a_folder_of_the_package() -> None:
    """The builtin name leads into the package."""
    folder = locate("builtin:gpt2-stdlib").folder
    assert ("shipped", "models") == (folder.name, folder.parent.name)


@pytest.mark.parametrize("source", ["org/tiny", "org/tiny@main", f"org/tiny@{COMMIT}"])
def test_a_hub_id_is_resolved_to_a_commit(source: str, hub_cache: Path) -> None:
    """A cached hub id loads without network, and the commit it was resolved to is reported."""
    decoder = load_decoder(source)
    assert hub_cache / "snapshots" / COMMIT == locate(source).folder
    assert (COMMIT, source, 3) == (decoder.revision, decoder.source, decoder.n_layers)
    assert COMMIT == decoder.as_float64().revision
    assert 3 == resolve(source).n_layers


def test_a_source_is_named_for_other_processes(
    hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub id by its commit, a folder and a file by their places, a built-in model by its name."""
    assert hub_cache.exists()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "some.gguf").touch()
    monkeypatch.chdir(tmp_path)
    assert f"org/tiny@{COMMIT}" == locate("org/tiny").anywhere
    assert f"org/tiny@{COMMIT}" == locate(f"org/tiny@{COMMIT}").anywhere
    assert str(tmp_path / "model") == locate("model").anywhere
    assert str(tmp_path / "model" / "some.gguf") == locate("model/some.gguf").anywhere
    assert "builtin:gpt2-stdlib" == locate("builtin:gpt2-stdlib").anywhere


def test_only_safe_files_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Configurations first; the rest at the same commit, without pickles and without code."""
    asked = []

    def snapshot_download(repo: str, **kwargs: Any) -> str:
        asked.append((repo, kwargs["revision"], kwargs["allow_patterns"]))
        return str(tmp_path / COMMIT)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    located = locate("org/name@v1")
    located.fetch()
    (first, second) = asked
    configurations = [
        "config.json",
        "adapter_config.json",
        "quanto_qmap.json",
        "hf_quant_config.json",
        "quantize_config.json",
        "quant_config.json",
    ]
    assert ("org/name", "v1", configurations) == first
    assert ("org/name", COMMIT) == second[:2]
    matched = {
        name
        for name in ("a.bin", "a.pt", "a.py", "a.pkl", "a.safetensors", "a.json", "merges.txt")
        for pattern in second[2]
        if Path(name).match(pattern)
    }
    assert {"a.safetensors", "a.json", "merges.txt"} == matched


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("source", ["org/other", "nowhere", "org/tiny@v9"])
def test_a_hub_id_that_cannot_be_fetched_is_refused(source: str) -> None:
    """Offline the message names both readings of the name."""
    with pytest.raises(ModelError, match=f"{source}': no such folder here, and it cannot be fetc"):
        locate(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./missing", "no such folder"),
        ("/no/such/folder", "no such folder"),
        ("a/b/c", "no such folder"),
        ("two words", "no such folder"),
        ("", "no such folder"),
        ("model.gguf", "no such .gguf file"),
        ("builtin:other", "builtin:other is no model of this package: it has builtin:gpt2-stdlib"),
    ],
)
def test_what_is_nowhere_is_refused(source: str, message: str) -> None:
    """The message says what is accepted, and nothing is fetched."""
    with pytest.raises(ModelError, match=re.escape(message)):
        locate(source)


def test_a_file_is_refused(tmp_path: Path) -> None:
    """A weights file alone is no checkpoint."""
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(ModelError, match=r"model\.safetensors is a file: give a local folder"):
        locate(str(path))


def test_a_folder_that_looks_like_a_hub_id_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_cache: Path
) -> None:
    """What exists here is never looked up on the hub."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(hub_cache / "snapshots" / COMMIT, tmp_path / "org" / "tiny")
    assert locate("org/tiny").revision is None
