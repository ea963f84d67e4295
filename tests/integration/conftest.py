"""Drives pytest itself: small suites, written into a folder of their own, on tiny models saved once."""

import importlib
import json
import pkgutil
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

import pytest_injectivity
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    byte_tokenizer,
    plant_equal_embeddings,
    plant_nan,
    save_checkpoint,
    tiny_decoder,
)
from tests.audits import small_samples

# Nobody would print these words by chance.
SECRETS = ("heliotrope", "quagmire")

Run = Callable[..., pytest.RunResult]


def _tiny(layers: int = 2, tokenizer: Any = None, context: int = 64) -> Decoder:
    tokenizer = byte_tokenizer() if tokenizer is None else tokenizer
    return tiny_decoder("gpt2", vocab=256, context=context, layers=layers, tokenizer=tokenizer)


def _ascii() -> Any:
    """A tokenizer of one token a character that drops what is not ASCII."""
    tokenizer = Tokenizer(BPE({chr(code): code for code in range(128)}, []))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def _nan_token() -> Decoder:
    decoder = _tiny()
    decoder.parts.embeddings.weight[ord("%")] = torch.nan
    return decoder


_MODELS: dict[str, Callable[[], Decoder]] = {
    "generic": _tiny,
    "lossy": lambda: _tiny(tokenizer=_ascii()),
    "deep": lambda: _tiny(4),
    # "x" and "y" have one embedding row.
    "planted": lambda: plant_equal_embeddings(_tiny(), ord("x"), ord("y")),
    "nan-from-layer-3": lambda: plant_nan(_tiny(4), 3),
    "roomy": lambda: plant_equal_embeddings(_tiny(context=512), ord("x"), ord("y")),
    # A tokenizer with ids that the embedding does not have.
    "narrow": lambda: tiny_decoder("gpt2", vocab=128, tokenizer=byte_tokenizer()),
    # Prompts with a "%" have no finite state.
    "nan-token": _nan_token,
}


@pytest.fixture(scope="session", autouse=True)
def _imported() -> None:
    """Imports all there is: what a run inside this process imports first is unloaded after it."""
    for module in pkgutil.walk_packages(pytest_injectivity.__path__, "pytest_injectivity."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@pytest.fixture(scope="session")
def _bitsandbytes(_imported: None) -> None:
    """Imported for good, likewise: its operators can be registered once in a process."""
    pytest.importorskip("bitsandbytes", reason="the extra bnb")


class _ReadOnce:
    """An installed distribution whose files are read once."""

    def __init__(self, distribution: metadata.Distribution) -> None:
        self._distribution = distribution

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._distribution, name)
        # A method may be called with another argument each time.
        if not callable(value):
            setattr(self, name, value)
        return value


# Plugins of pytest that this one has nothing to do with: every run inside this process would start them.
_STRANGERS = {"anyio", "hypothesis", "jaxtyping", "platformdirs"}


@pytest.fixture(scope="session", autouse=True)
def _distributions() -> Iterator[None]:
    """What is installed stays the same: every run inside this process would read its files anew."""
    every = (_ReadOnce(one) for one in metadata.distributions())
    installed = [one for one in every if one.name not in _STRANGERS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "distributions", lambda: iter(installed))
        yield


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run inside a run is neither a worker of it nor bound by its options; 80 columns, no colour."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CI", "BUILD_NUMBER", "PY_COLORS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    # The resolution on few prompts says as much about tiny models as that on many.
    small_samples(monkeypatch)


@pytest.fixture(autouse=True)
def _shared_store(_own_cache: None, _caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs find in the store what the runs of other tests measured: models and prompts are the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(_caches / "integration"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model, by name."""
    folder = tmp_path_factory.mktemp("models")

    def saved(name: str) -> Path:
        if not (folder / name).exists():
            save_checkpoint(_MODELS[name](), folder / name)
        return folder / name

    return saved


@pytest.fixture(scope="session")
def prompt_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Path]:
    """A file of these texts."""
    folder = tmp_path_factory.mktemp("prompts")

    def written(texts: Sequence[str]) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        return path

    return written


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Prompts with words to look for in outputs."""
    return [f"{i * i} of {i} {SECRETS[i % 2]}" for i in range(12)]


@pytest.fixture
def audited(
    pytester: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[Sequence[str]], Path],
    texts: list[str],
) -> Run:
    """Runs a suite on a model and prompts, inside this process."""

    def run(
        suite: str, *args: str, model: str = "generic", prompts: Sequence[str] = ()
    ) -> pytest.RunResult:
        pytester.makepyfile(test_suite=suite)
        named = any(arg.startswith("--injx-model=") for arg in args)
        return pytester.runpytest_inprocess(
            *(() if named else (f"--injx-model={checkpoint(model)}",)),
            f"--injx-prompts={prompt_file(prompts or texts)}",
            *args,
        )

    return run


@pytest.fixture
def tiny(tmp_path: Path, checkpoint: Callable[[str], Path]) -> Path:
    """A checkpoint of one's own, to be damaged."""
    return Path(shutil.copytree(checkpoint("generic"), tmp_path / "tiny"))
