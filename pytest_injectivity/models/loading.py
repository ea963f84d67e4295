"""A checkpoint on disk, on the hub or in this package becomes a :class:`Decoder`.

Ids that a tokenizer can give but the embedding does not have are not refused here: the library adds
special tokens of its own to some tokenizers (``Qwen2Tokenizer``: one more than the embedding has
rows) that no ordinary text encodes to. The ids of the prompts themselves are checked, when a prompt
set is loaded against :attr:`Decoder.vocab_size` and again by :meth:`Decoder.states`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models.checkpoint import (
    check_config,
    check_weights,
    gguf_has_tokenizer,
    has_tokenizer,
)
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import find_family, find_parts, refuse_unless_decoder
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.models.sources import Located, locate
from pytest_injectivity.models.verification import verify_view
from pytest_injectivity.quantization.formats import GGUF, Kind
from pytest_injectivity.quantization.loading import Request

DTYPES: dict[str, str | torch.dtype] = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    # Loaded as it is stored and widened exactly: float64 is a way to run, not only a dtype.
    "float64": "auto",
}
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")


def load_decoder(
    source: str, *, dtype: str = "auto", device: str = "auto", quantization: str | None = None
) -> Decoder:
    """Loads a checkpoint, quantized ones as they are published (`kinds`).

    Args:
        source: a local folder; a ``.gguf`` file; a hub id ``org/name`` or ``org/name@revision``,
            resolved to a commit (:attr:`Decoder.revision`); or a builtin such as
            ``builtin:gpt2-stdlib``.
        dtype: ``"auto"`` (the checkpoint's), ``"float32"``, ``"bfloat16"``, ``"float16"``, or
            ``"float64"``, which computes in true float64 throughout (SPEC section 2).
        device: ``"auto"`` (cuda, else mps, else cpu), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or
            ``"mps"``.
        quantization: one of `WHILE_LOADING`: quantizes a full-precision checkpoint as it is loaded.

    Returns:
        A decoder; its ``tokenizer`` is ``None`` where the checkpoint brings none. What is quantized
        of it was proved on what was loaded (:attr:`Decoder.quantized`).

    Raises:
        ModelError: the checkpoint is missing, damaged, pickled, quantized in a way that is not read
            or is not there, needs remote code, leaves parameters without weights, or is no causal
            decoder; float64 is asked of one that has none (:meth:`Decoder.as_float64`).
        OptionError: a dtype, device or quantization that is not accepted, or not on this machine.
        MissingExtra: it is quantized in a way that needs a package which is not installed.
    """
    if dtype not in DTYPES:
        raise OptionError(f"dtype {dtype!r} is not accepted: give one of {', '.join(DTYPES)}")
    target = resolve_device(device)
    if dtype == "float64" and target.type == "mps":
        raise OptionError("dtype float64 does not exist on device mps: give device cpu")
    located = locate(source)
    kind = _kind(located)
    wanted = Request.of(source, kind, quantization, target)
    config = _config(located)
    files = [located.folder / located.gguf] if located.gguf else check_weights(located.folder, kind)
    with quiet(), wanted.imports():
        wanted.adapt(config)
        model = _model(located, config, DTYPES[dtype], **wanted.settings)
        blocks = find_parts(model, find_family(model)).blocks
        with _refusing(f"the quantization of {source} cannot be proved"):
            quantized = wanted.settled(model, blocks, files)
        tokenizer = _tokenizer(located)
    decoder = Decoder(
        source, model.to(target), tokenizer, revision=located.revision, quantized=quantized
    )
    if not decoder.family.known:
        verify_view(decoder)
    return decoder.as_float64() if dtype == "float64" else decoder


def model_config(source: str) -> PreTrainedConfig:
    """The configuration of a checkpoint, without its weights.

    Raises:
        ModelError: there is none, or it is not that of a causal decoder.
    """
    return _config(locate(source, config_only=True))


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a checkpoint, without its weights; ``None`` where it brings none.

    Raises:
        ModelError: there is no such checkpoint, or its tokenizer cannot be loaded.
    """
    located = locate(source)
    _kind(located)
    with quiet():
        return _tokenizer(located)


def _kind(located: Located) -> Kind | None:
    """How a checkpoint says that it is quantized, checked before the library sees it."""
    if not located.gguf:
        return check_config(located.folder)
    GGUF.check(located.source)  # its configuration and tokenizer are in the file too
    return GGUF


def _config(located: Located) -> PreTrainedConfig:
    _kind(located)
    path = located.folder / (located.gguf or "config.json")
    with quiet(), _refusing(f"{path} cannot be read"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            located.folder, **_named(located), trust_remote_code=False, local_files_only=True
        )
    refuse_unless_decoder(config, located.source)
    # The library's own choice (sdpa, else eager): a configuration may name a kernel, which the
    # library would fetch and run.
    config._attn_implementation = None  # noqa: SLF001 - the library has no public name for it
    config._experts_implementation = None  # noqa: SLF001 - as above
    return config


def _named(located: Located) -> dict[str, Any]:
    return {"gguf_file": located.gguf} if located.gguf else {}


def _model(
    located: Located, config: PreTrainedConfig, dtype: str | torch.dtype, **settings: Any
) -> Any:
    loader: Any = AutoModelForCausalLM.from_pretrained  # its annotations leave out the info
    with _refusing(f"{located.source} cannot be loaded"):
        model, info = loader(
            located.folder,
            config=config,
            dtype=dtype,
            use_safetensors=None if located.gguf else True,
            **_named(located),
            **settings,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
        )
    _refuse_keys(located.source, "no weights for", info["missing_keys"])
    _refuse_keys(
        located.source, "weights of another shape for", [key for key, *_ in info["mismatched_keys"]]
    )
    _refuse_keys(
        located.source,
        f"weights for more blocks than its configuration's {_n_layers(config)}:",
        _of_deeper_blocks(info["unexpected_keys"], _n_layers(config)),
    )
    return model


def _n_layers(config: PreTrainedConfig) -> int:
    return int(config.get_text_config().num_hidden_layers)


def _of_deeper_blocks(keys: Any, n_layers: int) -> list[str]:
    """Keys such as ``model.layers.7.mlp.weight`` with a block number of ``n_layers`` or more."""
    numbered = {
        key: re.match(r"(?:[A-Za-z_]+\.){0,4}(?:layers|h|blocks)\.(\d+)\.", key) for key in keys
    }
    return [key for key, found in numbered.items() if found and int(found[1]) >= n_layers]


def _refuse_keys(source: str, what: str, keys: Any) -> None:
    if keys:
        shown = ", ".join(sorted(keys)[:3]) + (", ..." if len(keys) > 3 else "")  # noqa: PLR2004
        raise ModelError(
            f"{source} has {what} {shown} ({len(keys)} in all): a checkpoint that fills every"
            " parameter of its configuration is accepted"
        )


def _tokenizer(located: Located) -> Any:
    with _refusing(f"the tokenizer of {located.source} cannot be loaded"):
        if not _has_tokenizer(located):
            return None
        return AutoTokenizer.from_pretrained(
            located.folder, **_named(located), trust_remote_code=False, local_files_only=True
        )


def _has_tokenizer(located: Located) -> bool:
    if located.gguf:
        return gguf_has_tokenizer(located.folder / located.gguf)
    return has_tokenizer(located.folder)


def resolve_device(name: str) -> torch.device:
    """The device a name stands for on this machine; see `load_decoder`.

    Raises:
        OptionError: the name is not accepted, or there is no such device here.
    """
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise OptionError(f"device {name!r} is not accepted: give one of {', '.join(DEVICES)}")
    device = torch.device(name)
    count = {"cpu": 1, "mps": int(mps), "cuda": torch.cuda.device_count()}[device.type]
    if (device.index or 0) >= count:
        raise OptionError(f"device {name!r}: this machine has {count} of that kind")
    return device


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """An untrusted checkpoint raises whatever its values lead the library to."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(f"{what}: {reason}") from error
