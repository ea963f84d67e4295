"""compressed-tensors, which llm-compressor writes: integers and floats of few bits.

The weights are decoded here, from what the files hold. The library is needed where activations are
rounded as the model runs: it loads such a model and rounds what enters its layers.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from pytest_injectivity.core.versions import version
from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import EncodedMatrix, grouped, section
from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.formats.compressed_layout import ROLES, matrix_of, scheme_of
from pytest_injectivity.quantization.packed import Packed
from pytest_injectivity.quantization.stored_tensors import StoredWeights

_FORMATS = {
    "naive-quantized",
    "int-quantized",
    "float-quantized",
    "pack-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
    "mixed-precision",
}
_EXPERT = ".experts."
_KEYS = "k_scale"  # where an attention's keys are rounded


class CompressedTensors(Format):
    """Matrices of few bits under names of the library's own, decoded as they are read."""

    name = "compressed-tensors"
    methods = ("compressed-tensors",)
    packages = ("compressed-tensors",)
    extra = "compressed-tensors"
    traces = (".weight_packed",)
    of_activations = (
        *(
            f".{what}_{of}"
            for what in ("input", "output")
            for of in ("scale", "zero_point", "global_scale")
        ),
        *(f".{what}_{of}" for what in ("q", "k", "v") for of in ("scale", "zero_point")),
    )

    def adapt(self, config: Any) -> None:
        """Asks for plain weights, where the library would fetch kernels for a GPU."""
        config.quantization_config |= {"use_optimized_inference": False}

    def decodes(self, stored: StoredWeights) -> bool:
        """Whether nothing is rounded as the model runs, or nothing could be: experts are fused."""
        return not _rounds(stored.said) or any(_EXPERT in name for name in stored.tensors)

    def leaves_activations(self, stored: StoredWeights) -> bool:
        """Whether the activations of fused experts should be rounded."""
        return self.decodes(stored) and _rounds(stored.said)

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The matrices with a scale.

        Raises:
            ModelError: the format is not one that is read, or a layer lacks a tensor.
        """
        _refuse_unread(stored.said)
        layers = grouped(stored.tensors, ROLES)
        return [
            matrix_of(layer, parts, stored, scheme_of(layer, stored.said))
            for layer, parts in layers.items()
            if "weight_packed" in parts or _is_coded(parts, stored)
        ]

    def packed(self, module: Any, weight: Any) -> Packed | None:
        """The layer as the library holds it: plain weights, and a rounding of what enters, or none."""
        del weight
        scheme = getattr(module, "quantization_scheme", None)
        told = getattr(scheme, "weights", None)
        if told is None or not isinstance(module, nn.Linear):
            return None
        return Packed(
            self.name,
            int(told.num_bits),
            module.out_features,
            module.in_features,
            dense=lambda: module.weight.double(),  # noqa: PLW0108 - there is none while compressed
            rounds_activations=self.rounds_activations(module),
        )

    def rounds_activations(self, module: Any) -> bool:
        """Whether a scheme rounds what enters or leaves it: queries, keys and values of an attention."""
        scheme = getattr(module, "quantization_scheme", None)
        entering = getattr(scheme, "input_activations", None)
        return entering is not None or getattr(scheme, "output_activations", None) is not None

    def settle(self, model: Any) -> None:
        """Unpacks the layers; the library does so in a hook of the whole model, which never runs.

        Raises:
            ModelError: keys and values should be rounded, and the library rounds them nowhere: it does
                not know by what name the installed transformers gives a block its cache.
        """
        if hasattr(model, "ct_decompress_hook"):
            model.hf_quantizer.compressor.decompress_model(model)
        said = getattr(model.config, "quantization_config", None)
        if _of(said, "kv_cache_scheme") and not any(hasattr(one, _KEYS) for one in model.modules()):
            raise ModelError(
                "this checkpoint rounds keys and values as it runs (kv_cache_scheme), and"
                f" compressed-tensors {version('compressed-tensors')} leaves them as they are with"
                f" transformers {version('transformers')}: another version of either is needed, such as"
                " transformers 5.23"
            )


def _of(said: Any, name: str) -> Any:
    """A field of a quantization_config, which is a dictionary or an object of the library's."""
    if isinstance(said, Mapping):
        return said.get(name)
    return getattr(getattr(said, "quantization_config", said), name, None)


def _refuse_unread(said: Mapping[str, Any]) -> None:
    """Refuses layouts that are not decoded, and functions that are not those of the weights alone."""
    groups = said.get("config_groups")
    if not isinstance(groups, Mapping) or not all(
        isinstance(one, Mapping) for one in groups.values()
    ):
        raise ModelError("config_groups of the quantization_config must be an object of objects")
    formats = {str(one["format"]) for one in (said, *groups.values()) if one.get("format")}
    if others := sorted(formats - _FORMATS):
        raise ModelError(
            f"compressed-tensors of the format {', '.join(others)} are not read:"
            f" {', '.join(sorted(_FORMATS))} are"
        )
    sparsity = section(said, "sparsity_config")
    if sparsity.get("format", "dense") != "dense":
        raise ModelError(
            f"compressed-tensors of the sparse format {sparsity['format']!r:.50} are not read: dense are"
        )
    if section(said, "transform_config").get("config_groups"):
        raise ModelError(
            "compressed-tensors with a transform_config (rotations as the model runs) are not read:"
            " those without one are"
        )


def _rounds(said: Mapping[str, Any]) -> bool:
    """Whether activations are rounded as the model runs."""
    groups = said.get("config_groups")
    schemes = groups.values() if isinstance(groups, Mapping) else ()
    return bool(said.get("kv_cache_scheme")) or any(
        isinstance(one, Mapping) and (one.get("input_activations") or one.get("output_activations"))
        for one in schemes
    )


def _is_coded(parts: Mapping[str, str], stored: StoredWeights) -> bool:
    """Whether a layer's matrix itself is one of codes: integers or float8 of a byte each."""
    name = parts.get("weight")
    return name is not None and stored.tensors[name].dtype in {"I8", "F8_E4M3"}
