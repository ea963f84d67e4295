"""Loads a checkpoint, from disk, the hub or this package, as a :class:`Decoder`.

Ids that a tokenizer can give but the embedding does not have are not refused here: the library adds
special tokens of its own to some tokenizers (``Qwen2Tokenizer``: one more than the embedding has
rows) that no ordinary text encodes to. The ids of the prompts themselves are checked, when a prompt
set is loaded against :attr:`Decoder.vocab_size` and again by :meth:`Decoder.states`.
"""

import copy
from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from transformers import PreTrainedConfig

from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.agreement import verify_agreement_once
from pytest_injectivity.models.checkpoint import Checkpoint, resolve
from pytest_injectivity.models.decoded import load_decoded_model
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.devices import resolve_devices
from pytest_injectivity.models.families import find_family, find_parts
from pytest_injectivity.models.gguf.weights import load_gguf_model
from pytest_injectivity.models.harmless import towers_beside
from pytest_injectivity.models.header_check import refuse_unlike_header
from pytest_injectivity.models.leftovers import Loaded, refuse_codes, refuse_leftovers
from pytest_injectivity.models.placement import Placement
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.models.towers import auto_class
from pytest_injectivity.models.verification import verify_view
from pytest_injectivity.quantization.decoding.decoding import Decoding
from pytest_injectivity.quantization.library_calls import refusing
from pytest_injectivity.quantization.loading import Request
from pytest_injectivity.quantization.stored_tensors import StoredWeights

DTYPES: dict[str, str | torch.dtype] = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    # Loaded as it is stored and widened exactly: float64 is a way to run, not only a dtype.
    "float64": "auto",
}


def load_decoder(
    source: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantization: str | None = None,
    mode: str = "auto",
) -> Decoder:
    """Loads a checkpoint, quantized ones as they are published.

    Args:
        source: a local folder; a ``.gguf`` file; a hub id ``org/name`` or ``org/name@revision``,
            resolved to a commit (:attr:`Decoder.revision`); or a builtin such as
            ``builtin:gpt2-stdlib``.
        dtype: ``"auto"`` (the checkpoint's), ``"float32"``, ``"bfloat16"``, ``"float16"``, or
            ``"float64"``, which computes in true float64 throughout (SPEC section 2).
        device: ``"auto"`` (cuda, else mps, else cpu), ``"cpu"``, ``"cuda"``, ``"cuda:1"``,
            ``"mps"``, or ``"balanced"``: the blocks are shared among all CUDA devices.
        quantization: one of `WHILE_LOADING`: quantizes a full-precision checkpoint as it is loaded.
        mode: ``"whole"`` (all weights in the device's memory), ``"stream"`` (each block is read from
            disk when it runs), or ``"auto"``: whole where the weights fit.

    Returns:
        A decoder; its ``tokenizer`` is ``None`` where the checkpoint brings none. What is quantized
        of it was proved on what was loaded (:attr:`Decoder.quantized`).

    Raises:
        ModelError: the checkpoint is missing, damaged, pickled, quantized in a way that is not read
            or is not there, needs remote code, leaves parameters without weights, or is no causal
            decoder; float64 is asked of one that has none (:meth:`Decoder.as_float64`).
        OptionError: a dtype, device or quantization that is not accepted, or not on this machine.
        MissingExtra: it is quantized in a way that needs a package which is not installed.

    Example:
        >>> from pytest_injectivity import load_decoder
        >>> load_decoder("builtin:gpt2-stdlib", device="cpu")
        Decoder('builtin:gpt2-stdlib', gpt2, layers=4, hidden=128, vocab=2048, torch.float32)
    """
    _devices(dtype, device)  # a wrong option is refused before anything is fetched
    return load(resolve(source), dtype=dtype, device=device, quantization=quantization, mode=mode)


class LoadSettings(TypedDict, total=False):
    """What `load` may be given by keyword; each is described there."""

    dtype: str
    device: str
    quantization: str | None
    mode: str


def load(
    checkpoint: Checkpoint,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantization: str | None = None,
    mode: str = "auto",
) -> Decoder:
    """Loads the weights and the tokenizer of a checkpoint that was resolved.

    Args:
        checkpoint: as `resolve` gives it; it stays as it is.
        dtype: as for `load_decoder`.
        device: as for `load_decoder`.
        quantization: as for `load_decoder`.
        mode: as for `load_decoder`.

    Returns:
        As `load_decoder`.

    Raises:
        ModelError: as for `load_decoder`.
        OptionError: as for `load_decoder`.
        MissingExtra: as for `load_decoder`.
    """
    targets = _devices(dtype, device)
    wanted = Request.of(checkpoint.source, checkpoint.quantized, quantization, targets[0])
    weights = checkpoint.weights
    config = copy.deepcopy(checkpoint.config)
    with quiet(), wanted.imports(), weights.opened() as read:
        stored = StoredWeights(weights.tensors, read, checkpoint.said)
        decoding = wanted.decoding(stored)
        wanted.adapt(config, decoding)
        described = refuse_unlike_header(
            config,
            decoding.headers,
            checkpoint.source,
            packed=checkpoint.quantized is not None and not decoding.matrices,
        )
        packed = wanted.row is not None and not decoding.whole and checkpoint.gguf is None
        why_not = _why_not_streamed(wanted, dtype, packed=packed)
        placement = Placement.of(mode, targets, described, DTYPES[dtype], why_not)
        with placement.asked(checkpoint.source, described) as placed:
            if decoding.whole:
                model = load_decoded_model(
                    checkpoint.source, config, described, DTYPES[dtype], decoding, **placed
                )
            else:
                model = _model(
                    checkpoint,
                    config,
                    described,
                    decoding,
                    DTYPES[dtype],
                    placed=placed,
                    **wanted.settings,
                )
            blocks = find_parts(model, find_family(model)).blocks
            quantized = wanted.settled(model, blocks, decoding)
            streamed = placement.settle(checkpoint.source, model, placed)
        tokenizer = load_tokenizer(checkpoint)
    decoder = Decoder(
        checkpoint.source,
        model,
        tokenizer,
        revision=checkpoint.revision,
        quantized=quantized,
        left_out=towers_beside(weights.tensors, model),
        streamed=streamed,
    )
    if not decoder.family.known:
        verify_view(decoder)
    verify_agreement_once(decoder)
    return decoder.as_float64() if dtype == "float64" else decoder


def _why_not_streamed(wanted: Request, dtype: str, *, packed: bool) -> str:
    """Why the blocks of a checkpoint cannot stay on disk; empty where they can.

    Args:
        wanted: what is loaded.
        dtype: it computes in.
        packed: its weights stay packed in memory, in modules of a library.
    """
    if dtype == "float64":
        return "float64 needs all weights in memory: another dtype is accepted"
    if wanted.row is not None and packed:
        return f"weights of {wanted.row.name} stay packed, which is read whole (--injx-load=whole)"
    return ""


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """Loads the tokenizer of a checkpoint, without its weights; ``None`` where it brings none.

    Raises:
        ModelError: the tokenizer cannot be loaded.
    """
    return checkpoint.tokenizer


def _devices(dtype: str, device: str) -> tuple[torch.device, ...]:
    """The devices of the name, which must exist here and compute in the dtype."""
    if dtype not in DTYPES:
        raise OptionError(f"dtype {dtype!r} is not accepted: give one of {', '.join(DTYPES)}")
    targets = resolve_devices(device)
    if dtype == "float64" and targets[0].type == "mps":
        raise OptionError("dtype float64 does not exist on device mps: give device cpu")
    return targets


def _model(
    checkpoint: Checkpoint,
    config: PreTrainedConfig,
    described: Any,
    decoding: Decoding,
    dtype: str | torch.dtype,
    *,
    placed: Mapping[str, Any],
    **settings: Any,
) -> Any:
    if checkpoint.gguf is not None:
        wanted = torch.float32 if isinstance(dtype, str) else dtype
        return load_gguf_model(checkpoint.gguf, config, described, wanted, **placed)
    loader: Any = auto_class(config).from_pretrained  # its annotations leave out the info
    with refusing(f"{checkpoint.source} cannot be loaded"):
        model, info = loader(
            checkpoint.folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            **settings,
            **placed,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
        )
    loaded = Loaded.of(checkpoint.source, model, described, info)
    refuse_leftovers(loaded, checkpoint.weights.tensors, decoding.stored.read)
    refuse_codes(loaded, decoding.headers)
    return model
