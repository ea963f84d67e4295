"""Finds the folder of a checkpoint that the user names: a folder, a file, a builtin, or a hub id.

A hub id may name a revision, ``org/name@revision``. The revision is resolved to a commit once, and the
configuration and the weights are both fetched at that commit. Only safetensors, JSON and tokenizer
files are fetched; nothing else here touches the network.
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
# The others say what the first does not: an adapter, or a quantization of a kind of its own.
_CONFIG_FILES = [
    "config.json",
    "adapter_config.json",
    "quanto_qmap.json",
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
]
# Top-level files only, and none that is unpickled.
_TOKENIZER_FILES = ["*.json", "*.txt", "tokenizer.model", "*.tiktoken"]
_CHECKPOINT_FILES = ["*.safetensors", *_TOKENIZER_FILES]


@dataclass(frozen=True)
class Located:
    """Where a checkpoint is.

    Attributes:
        source: what the user named.
        folder: the folder that holds it.
        repo: the hub's repository it comes from, or ``None`` for what is not from a hub.
        revision: the hub's commit it was resolved to, or ``None``.
        gguf: the name of the one file in the folder that is the checkpoint, or ``None``.
    """

    source: str
    folder: Path
    repo: str | None = None
    revision: str | None = None
    gguf: str | None = None

    @property
    def anywhere(self) -> str:
        """A source that names the same checkpoint at any time, in a process started in any folder."""
        if self.repo is not None:
            return f"{self.repo}@{self.revision}"
        if self.source.startswith(_BUILTIN):
            return self.source
        folder = self.folder.absolute()
        return str(folder if self.gguf is None else folder / self.gguf)

    def fetch(self) -> None:
        """Fetches the weights and the tokenizer of a hub id, at its commit, where they are not here.

        Raises:
            ModelError: they cannot be fetched.
        """
        if self.repo is not None:
            _fetch(self.source, self.repo, self.revision, _CHECKPOINT_FILES)

    def fetch_tokenizer(self) -> None:
        """Fetches the tokenizer of a hub id alone.

        Raises:
            ModelError: it cannot be fetched.
        """
        if self.repo is not None:
            _fetch(self.source, self.repo, self.revision, _TOKENIZER_FILES)


def locate(source: str) -> Located:
    """Finds the folder a source stands for; of a hub id it fetches the configuration alone.

    Args:
        source: a folder, a ``.gguf`` file, ``org/name``, ``org/name@revision`` or ``builtin:NAME``.

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
    folder = _fetch(source, named["repo"], named["revision"], _CONFIG_FILES)
    # The hub's client names a snapshot's folder by its commit.
    return Located(source, folder, named["repo"], folder.name)


def _builtin(name: str) -> Path:
    if name not in _BUILTINS:
        known = ", ".join(_BUILTIN + each for each in _BUILTINS)
        raise ModelError(f"{_BUILTIN}{name} is no model of this package: it has {known}")
    return _BUILTINS[name]


def _fetch(source: str, repo: str, revision: str | None, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

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
    return Path(folder)
