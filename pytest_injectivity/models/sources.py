"""What the user names becomes a folder on this machine: a folder, a file, a builtin, or a hub id.

A hub id may name a revision, ``org/name@revision``. The revision is resolved to a commit, and only
safetensors, JSON and tokenizer files are fetched; nothing else here touches the network.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pytest_injectivity.errors import ModelError

_ACCEPTED = (
    "a local folder with a config.json and safetensors weights, a .gguf file, a hub id such as"
    " org/name or org/name@revision, or a builtin"
)
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_BUILTIN = "builtin:"
_BUILTINS = {"gpt2-stdlib": Path(__file__).parent / "shipped"}
_CONFIG_FILES = ["config.json"]
# Top-level files only, and none that is unpickled.
_CHECKPOINT_FILES = ["*.safetensors", "*.json", "*.txt", "tokenizer.model", "*.tiktoken"]


@dataclass(frozen=True)
class Located:
    """Where a checkpoint is.

    Attributes:
        source: what the user named.
        folder: the folder that holds it.
        revision: the hub's commit it was resolved to, or ``None`` for what is not from a hub.
        gguf: the name of the one file in it that is the checkpoint, or ``None``.
    """

    source: str
    folder: Path
    revision: str | None = None
    gguf: str | None = None


def locate(source: str, *, config_only: bool = False) -> Located:
    """The folder a source stands for; fetches a hub id that is not yet in the hub's cache.

    Args:
        source: a folder, a ``.gguf`` file, ``org/name``, ``org/name@revision`` or ``builtin:NAME``.
        config_only: fetch no more than the configuration.

    Raises:
        ModelError: there is no such folder, file format, builtin or reachable hub id.
    """
    path = Path(source).expanduser()
    if source.startswith(_BUILTIN):
        return Located(source, _builtin(source.removeprefix(_BUILTIN)))
    if source and path.is_dir():
        return Located(source, path)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{source}: no such .gguf file; give {_ACCEPTED}")
        return Located(source, path.parent, gguf=path.name)
    if source and path.exists():
        raise ModelError(f"{source} is a file: give {_ACCEPTED}")
    named = _HUB_ID.fullmatch(source)
    if named is None or source.startswith((".", "/", "~")):
        raise ModelError(f"{source!r}: no such folder; give {_ACCEPTED}")
    return _fetch(source, named["repo"], named["revision"], config_only=config_only)


def _builtin(name: str) -> Path:
    if name not in _BUILTINS:
        known = ", ".join(_BUILTIN + each for each in _BUILTINS)
        raise ModelError(f"{_BUILTIN}{name} is no model of this package: it has {known}")
    return _BUILTINS[name]


def _fetch(source: str, repo: str, revision: str | None, *, config_only: bool) -> Located:
    from huggingface_hub import snapshot_download

    files = _CONFIG_FILES if config_only else _CHECKPOINT_FILES
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=files, ignore_patterns=["*/*"]
        )
    except (OSError, ValueError) as error:
        # The hub's errors are OSErrors and ValueErrors; their first line says what is wrong.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"{source!r}: no such folder here, and it cannot be fetched as a hub id either"
            f" ({reason}); give {_ACCEPTED}"
        ) from error
    # A snapshot's folder is named by its commit.
    return Located(source, Path(folder), Path(folder).name)
