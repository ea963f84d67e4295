"""Drives pytest itself: small suites, written into a folder of their own, on tiny models saved once."""

import importlib
import json
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import pytest_injectivity
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    byte_tokenizer,
    plant_equal_embeddings,
    plant_nan,
    save_checkpoint,
    tiny_decoder,
)

# Nobody would print these words by chance.
SECRETS = ("heliotrope", "quagmire")

Run = Callable[..., pytest.RunResult]


def _tiny(layers: int = 2, **settings: object) -> Decoder:
    return tiny_decoder("gpt2", vocab=256, context=64, layers=layers, tokenizer=byte_tokenizer())


def _nan_token() -> Decoder:
    decoder = _tiny()
    decoder.parts.embeddings.weight[ord("%")] = torch.nan
    return decoder


_MODELS: dict[str, Callable[[], Decoder]] = {
    "generic": _tiny,
    # "x" and "y" have one embedding row.
    "planted": lambda: plant_equal_embeddings(_tiny(), ord("x"), ord("y")),
    "nan-from-layer-3": lambda: plant_nan(_tiny(4), 3),
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
    return [f"{SECRETS[i % 2]} {i * i} of {i}" for i in range(12)]


@pytest.fixture
def audited(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[Sequence[str]], Path],
    texts: list[str],
) -> Run:
    """Runs a suite on a model and prompts, inside this process."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS", "CI"):
        monkeypatch.delenv(name, raising=False)

    def run(
        suite: str, *args: str, model: str = "generic", prompts: Sequence[str] = ()
    ) -> pytest.RunResult:
        pytester.makepyfile(test_suite=suite)
        return pytester.runpytest_inprocess(
            f"--injx-model={checkpoint(model)}",
            f"--injx-prompts={prompt_file(prompts or texts)}",
            *args,
        )

    return run
