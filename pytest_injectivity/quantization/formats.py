"""The kinds of quantized checkpoints that are published, and what each needs to be loaded.

A checkpoint says how it is quantized in its own ``config.json`` (``quantization_config``), or is a
``.gguf`` file. The table decides whether it is read: what the installed libraries cannot load, load
wrong, or load by fetching code is refused here by name, before they see it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pytest_injectivity.errors import MissingExtra, ModelError
from pytest_injectivity.quantization.stored_tensors import StoredTensor


@dataclass(frozen=True)
class Kind:
    """A way in which published checkpoints are quantized.

    Attributes:
        method: the ``quant_method`` of a configuration; ``gguf`` for such files.
        packages: distributions it needs beside this package's own dependencies.
        extra: the extra of this package that installs them.
        refused: why it is not read; empty where it is.
    """

    method: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    refused: str = ""

    def check(self, source: str) -> None:
        """Refuses what cannot be loaded here.

        Args:
            source: what is to be loaded, for the message.

        Raises:
            ModelError: this kind is not read.
            MissingExtra: a package is missing.
        """
        if self.refused:
            raise ModelError(
                f"{source} is quantized with {self.method}, which is not read: {self.refused};"
                f" {ACCEPTED} are"
            )
        missing = [name for name in self.packages if _version(name) is None]
        if missing:
            raise MissingExtra(
                f"{source}: quantization with {self.method} needs {' and '.join(missing)}: pip"
                f" install pytest-injectivity[{self.extra}]"
            )


TABLE = {
    kind.method: kind
    for kind in (
        Kind("bitsandbytes", ("bitsandbytes", "accelerate"), "bnb"),
        Kind("torchao", ("torchao",), "torchao"),
        Kind("compressed-tensors", ("compressed-tensors",), "compressed-tensors"),
        Kind("fp8", ("accelerate",), "fp8"),
        Kind("gguf", ("gguf", "accelerate"), "gguf"),
        Kind("gptq", ("gptqmodel", "optimum"), "gptq"),
        Kind("awq", ("gptqmodel", "optimum"), "gptq"),
        Kind("hqq", refused="transformers 5 does not load it"),
        Kind(
            "quanto", refused="transformers 5 cannot save it, and opens quanto's own folders wrong"
        ),
        Kind("fbgemm_fp8", refused="it runs on a GPU of its own kernels only"),
        Kind("mxfp4", refused="it runs on a GPU, by kernels that are fetched from a hub"),
    )
}
"""By ``quant_method``. What stands in no row is refused as well."""

GGUF = TABLE["gguf"]
ACCEPTED = ", ".join(kind.method for kind in TABLE.values() if not kind.refused)

# How a weights file betrays that its matrices are quantized, whatever the configuration says.
_TRACES = ("_scale_inv", ".qweight", ".SCB", ".absmax", ".weight._data", ".weight_packed")
_FLOAT8 = "F8_"


def of_config(config: Mapping[str, Any], source: str) -> Kind | None:
    """The kind a configuration names; None for a checkpoint in full precision.

    Args:
        config: of ``config.json``.
        source: the file, for messages.

    Raises:
        ModelError: the kind is unknown.
    """
    said = config.get("quantization_config")
    if not said:
        return None
    if not isinstance(said, dict):
        raise ModelError(f"{source}: quantization_config must be a JSON object, not {said!r:.50}")
    # Checkpoints of old have the two flags of bitsandbytes and no method.
    flagged = said.get("load_in_4bit") or said.get("load_in_8bit")
    method = said.get("quant_method") or ("bitsandbytes" if flagged else None)
    known = TABLE.get(method) if isinstance(method, str) else None
    if known is None:
        raise ModelError(
            f"{source}: quant_method {method!r:.50} is not one that is read: {ACCEPTED} are"
        )
    return known


def installed(kind: Kind | None = None) -> dict[str, str]:
    """The versions of the packages that load quantized checkpoints, of a kind or of all."""
    kinds = TABLE.values() if kind is None else (kind,)
    names = sorted({name for each in kinds for name in each.packages})
    return {name: found for name in names if (found := _version(name)) is not None}


def traces(tensors: Mapping[str, StoredTensor]) -> list[str]:
    """The names of tensors that only a quantized checkpoint has."""
    return [
        name
        for name, tensor in tensors.items()
        if name.endswith(_TRACES) or tensor.dtype.startswith(_FLOAT8)
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
