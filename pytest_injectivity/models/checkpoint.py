"""A checkpoint, read once and passed on: where it lies, its configuration, its files' headers.

A checkpoint is untrusted input. Only JSON, safetensors and GGUF are read; what would be unpickled, would
run code, or would name another checkpoint is refused by name, before any weight is loaded. Whoever
needs to know something of a checkpoint takes it from a `Checkpoint`, and opens none of its files again.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, AutoTokenizer, PreTrainedConfig

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.families import count_blocks, refuse_unless_decoder
from pytest_injectivity.models.gguf.config import read_gguf_config
from pytest_injectivity.models.gguf.tokenizer import load_gguf_tokenizer
from pytest_injectivity.models.header_check import refuse_impossible_sizes
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.models.sources import Located, locate
from pytest_injectivity.models.tokenizer import guarded
from pytest_injectivity.models.weight_files import (
    INDEX,
    WEIGHTS,
    WeightFiles,
    of_gguf,
    read_json,
    read_weight_files,
)
from pytest_injectivity.quantization.formats.base import Format, Signs
from pytest_injectivity.quantization.formats.registry import check_readable, detect
from pytest_injectivity.quantization.gguf_header import GgufHeader, read_gguf_header
from pytest_injectivity.quantization.library_calls import refusing

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_GGUF_TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that was found and whose configuration was read; no weights are loaded.

    Attributes:
        located: where it lies.
        config: the library's configuration; whoever changes it changes a copy.
        quantized: the format that the checkpoint says it is quantized in; None in full precision.
        gguf: the header of the ``.gguf`` file that the checkpoint is; None for a folder.
    """

    located: Located
    config: PreTrainedConfig
    quantized: Format | None = None
    gguf: GgufHeader | None = None

    @property
    def source(self) -> str:
        """What the user named; for messages."""
        return self.located.source

    @property
    def revision(self) -> str | None:
        """The hub's commit, or None for what is not from a hub."""
        return self.located.revision

    @property
    def n_layers(self) -> int:
        """The number of blocks that the configuration names."""
        return count_blocks(self.config)

    @cached_property
    def said(self) -> Mapping[str, Any]:
        """The checkpoint's own words on quantization; empty where there are none.

        Raises:
            ModelError: they stand in a file of their own, which is no JSON object.
        """
        said = getattr(self.config, "quantization_config", None)
        if isinstance(said, dict) and said:
            return said
        beside = self.quantized.file if self.quantized is not None else ""
        if not beside or not (self.folder / beside).is_file():
            return {}
        told = read_json(self.folder / beside)
        inner = told.get("quantization")
        return inner if isinstance(inner, dict) else told

    @cached_property
    def folder(self) -> Path:
        """The folder that holds all its files; those of a hub id are fetched on first use.

        Raises:
            ModelError: they cannot be fetched.
        """
        self.located.fetch()
        return self.located.folder

    @cached_property
    def weights(self) -> WeightFiles:
        """Its weights files and their headers, read on first use.

        Raises:
            ModelError: they are missing, pickled, damaged, or quantized in secret.
        """
        if self.gguf is not None:
            return of_gguf(self.gguf)
        return read_weight_files(self.folder, self.quantized)

    @property
    def has_tokenizer(self) -> bool:
        """Whether it brings a tokenizer."""
        if self.gguf is not None:
            return _GGUF_TOKENS in self.gguf.counts
        self.located.fetch_tokenizer()
        return any((self.located.folder / name).is_file() for name in _TOKENIZERS)

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer, loaded on first use and kept; None where it brings none.

        Raises:
            ModelError: the tokenizer cannot be loaded.
        """
        if not self.has_tokenizer:
            return None
        with quiet(), refusing(f"the tokenizer of {self.source} cannot be loaded"):
            if self.gguf is not None:
                loaded = load_gguf_tokenizer(self.gguf, self.config)
            else:
                loaded = AutoTokenizer.from_pretrained(
                    self.located.folder,
                    config=copy.deepcopy(self.config),
                    trust_remote_code=False,
                    local_files_only=True,
                )
        return guarded(loaded, self.source)


def resolve(source: str) -> Checkpoint:
    """Finds a checkpoint and reads its configuration; weights are neither fetched nor loaded.

    Args:
        source: a folder, a ``.gguf`` file, ``org/name``, ``org/name@revision`` or ``builtin:NAME``.

    Raises:
        ModelError: there is none, or its configuration cannot, or must not, be loaded, or is not that of
            a causal decoder.
        MissingExtra: it is a ``.gguf`` file, and a package that reads such files is missing.
    """
    located = locate(source)
    path = located.folder / (located.gguf or "config.json")
    # A .gguf file holds its own configuration and tokenizer; what lies beside it is not the checkpoint.
    signs = Signs({}, frozenset({located.gguf})) if located.gguf else _signs(located.folder)
    quantized = detect(signs, str(path))
    if located.gguf and quantized is not None:
        check_readable(
            quantized, source
        )  # even its configuration is read by a package of the extra
    header = None
    if located.gguf:
        with refusing(f"{path} cannot be read"):
            header = read_gguf_header(path)
    config = _config(located, header)
    refuse_unless_decoder(config, source)
    # The library's own choice (sdpa, else eager): a configuration may name a kernel, which the
    # library would fetch and run.
    config._attn_implementation = None  # noqa: SLF001 - the library has no public name for it
    config._experts_implementation = None  # noqa: SLF001 - as above
    return Checkpoint(located, config, quantized, header)


def _config(located: Located, header: GgufHeader | None) -> PreTrainedConfig:
    with quiet():
        if header is not None:
            return read_gguf_config(header)
        with refusing(f"{located.folder / 'config.json'} cannot be read"):
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                located.folder, trust_remote_code=False, local_files_only=True
            )
    return config


def _signs(folder: Path) -> Signs:
    """Refuses a configuration that cannot, or must not, be loaded.

    Returns:
        What the checkpoint shows of its quantization.

    Raises:
        ModelError: there is none, it is no JSON object, its model type is unknown to transformers,
            or it asks for an adapter, or for weights in a file of its own naming.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} has no config.json: a checkpoint folder of transformers has one"
        )
    config = read_json(path)
    refuse_impossible_sizes(config, str(path))
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        remote = " and brings code of its own, which is never run" if "auto_map" in config else ""
        raise ModelError(
            f"{path}: model_type {kind!r} is not one of transformers{remote}:"
            " the model types of the installed transformers are accepted"
        )
    if config.get("transformers_weights"):
        raise ModelError(
            f"{path}: weights in {config['transformers_weights']!r}:"
            f" {WEIGHTS} or {INDEX} is accepted"
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds an adapter (adapter_config.json), which names another checkpoint:"
            " merge it into its base model first"
        )
    return Signs(config, frozenset(one.name for one in folder.iterdir()))
