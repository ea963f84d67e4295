"""The table of the formats of quantized checkpoints, and what is looked up in it.

A checkpoint says how it is quantized in its own ``config.json`` (``quantization_config``), or is a
``.gguf`` file. The table decides whether it is read: what the installed libraries cannot load, load
wrong, or load by fetching code is refused here by name, before they see it.

To add a format, write its subclass of `Format` in a file of this room and add its row here.
"""

import re
from collections.abc import Mapping
from typing import Any

from pytest_injectivity.core.versions import installed_version
from pytest_injectivity.errors import MissingExtra, ModelError
from pytest_injectivity.quantization.formats.auto_round import AutoRound
from pytest_injectivity.quantization.formats.base import Format, Signs
from pytest_injectivity.quantization.formats.bitsandbytes import BitsAndBytes
from pytest_injectivity.quantization.formats.compressed_tensors import CompressedTensors
from pytest_injectivity.quantization.formats.fp8 import Fp8
from pytest_injectivity.quantization.formats.gguf import Gguf
from pytest_injectivity.quantization.formats.gptq import Awq, Gptq
from pytest_injectivity.quantization.formats.hqq import Hqq
from pytest_injectivity.quantization.formats.modelopt import ModelOpt
from pytest_injectivity.quantization.formats.mxfp4 import Mxfp4
from pytest_injectivity.quantization.formats.quark import Quark
from pytest_injectivity.quantization.formats.torchao import TorchAo
from pytest_injectivity.quantization.formats.unread import (
    Elsewhere,
    Mlx,
    Nested,
    Quanto,
)
from pytest_injectivity.quantization.packed import MATRIX_DIMENSIONS, Packed
from pytest_injectivity.quantization.stored_tensors import StoredTensor

FORMATS: tuple[Format, ...] = (
    BitsAndBytes(),
    TorchAo(),
    CompressedTensors(),
    Fp8("fp8", "_scale_inv", "_scale", traces=("_scale_inv",)),
    Fp8("fbgemm_fp8", "_scale"),
    ModelOpt(),
    Mxfp4(),
    Gguf(),
    Gptq(),
    Awq(),
    AutoRound(),
    Hqq(),
    Quark(),
    Quanto(),
    Mlx(),
    Elsewhere("compression_config", "an older compressed-tensors"),
    Elsewhere("quantize_config.json", "an older AutoGPTQ"),
    Elsewhere("quant_config.json", "an older AutoAWQ"),
    Nested(),
)
"""A row a format. A checkpoint of a format that has no row is refused as well."""

ACCEPTED = ", ".join(row.name for row in FORMATS if not row.refused)

_TRACES = tuple(trace for row in FORMATS for trace in row.traces)
_FLOAT8 = "F8_"
_INTEGER = re.compile(r"[IU]\d+|F[468]_.*|BOOL")
# Masks and positions that older versions of the library saved: of integers, and no weights.
_MASK = re.compile(r"(?:^|\.)(?:(?:attn|attention)\.(?:masked_)?bias|position_ids)$")


def detect(signs: Signs, source: str) -> Format | None:
    """The format of a checkpoint; None for one in full precision.

    Args:
        signs: what the checkpoint shows.
        source: names it in messages.

    Raises:
        ModelError: the format is unknown, or the signs are those of several.
    """
    found = [row for row in FORMATS if row.detect(signs)]
    if len(found) > 1:
        names = " and ".join(row.name for row in found)
        raise ModelError(f"{source} has the signs of {names}: a checkpoint of one is accepted")
    if found:
        return found[0]
    if said := signs.config.get("quantization_config"):
        if not isinstance(said, dict):
            raise ModelError(
                f"{source}: quantization_config must be a JSON object, not {said!r:.50}"
            )
        methods = ", ".join(name for row in FORMATS if not row.refused for name in row.methods)
        raise ModelError(
            f"{source}: quant_method {signs.method!r:.50} is not one that is read: {methods} are"
        )
    return None


def check_readable(row: Format, source: str) -> None:
    """Refuses a format that cannot be loaded here.

    Args:
        row: the format.
        source: what is to be loaded, for the message.

    Raises:
        ModelError: the format is not read.
        MissingExtra: a package is missing.
    """
    if row.refused:
        raise ModelError(
            f"{source} is quantized with {row.name}, which is not read: {row.refused};"
            f" {ACCEPTED} are"
        )
    if missing := row.missing_packages():
        raise MissingExtra(
            f"{source}: quantization with {row.name} needs {' and '.join(missing)}: pip"
            f" install pytest-injectivity[{row.extra}]"
        )


def format_for(quantization: str) -> Format | None:
    """The format that a full-precision checkpoint is quantized to by this name; None for no name."""
    return next((row for row in FORMATS if quantization in row.while_loading), None)


def packed(module: Any) -> Packed | None:
    """The layer as a packed one of any format; None where its weights are plain."""
    weight = getattr(module, "weight", None)
    return next((found for row in FORMATS if (found := row.packed(module, weight))), None)


def traces(tensors: Mapping[str, StoredTensor]) -> list[str]:
    """The names of tensors that only a quantized checkpoint has, whatever its configuration says.

    Their names end as those of a format do, or they are matrices of float8 or of integers: a parameter
    of a model in full precision is neither.
    """
    return [
        name
        for name, tensor in tensors.items()
        if name.endswith(_TRACES) or tensor.dtype.startswith(_FLOAT8) or is_codes(name, tensor)
    ]


def is_codes(name: str, tensor: StoredTensor) -> bool:
    """Whether a stored tensor is a matrix of integers or of float8, and no mask and no positions."""
    integers = _INTEGER.fullmatch(tensor.dtype) is not None
    return integers and len(tensor.shape) >= MATRIX_DIMENSIONS and _MASK.search(name) is None


def installed() -> dict[str, str]:
    """The versions of the installed packages that load quantized checkpoints, by name."""
    names = sorted({name for row in FORMATS for name in row.packages})
    return {name: found for name in names if (found := installed_version(name)) is not None}
