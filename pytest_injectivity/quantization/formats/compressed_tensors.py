"""compressed-tensors, which llm-compressor writes: integers or float8, activations rounded or not."""

from typing import Any

import torch
from torch import nn

from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.packed import Packed

# What the format stores weights in.
_WORDS = (torch.int32, torch.int8, torch.uint8, torch.float8_e4m3fn)


class CompressedTensors(Format):
    """Layers that compressed-tensors unpacks: their values are held dense from then on."""

    name = "compressed-tensors"
    methods = ("compressed-tensors",)
    packages = ("compressed-tensors",)
    extra = "compressed-tensors"
    traces = (".weight_packed",)

    def adapt(self, config: Any) -> None:
        """Asks for plain weights, where the library would fetch kernels for a GPU."""
        config.quantization_config |= {"use_optimized_inference": False}

    def packed(self, module: Any, weight: Any) -> Packed | None:
        """The layer, compressed as it was stored or decompressed since, into a plain weight."""
        told = getattr(getattr(module, "quantization_scheme", None), "weights", None)
        status = getattr(getattr(module, "quantization_status", None), "name", "")
        if told is None or isinstance(module, nn.Embedding):
            return None
        outputs, inputs, bits = module.out_features, module.in_features, int(told.num_bits)
        stored = getattr(module, "weight_packed", weight)
        # Four-byte words hold several integers each; a byte holds one, or a float8.
        compressed = stored.dtype in _WORDS and stored.nbytes < 2 * outputs * inputs
        if status != "DECOMPRESSED" and not (status == "COMPRESSED" and compressed):
            return None
        entering = module.quantization_scheme.input_activations
        leaving = module.quantization_scheme.output_activations
        number = "FP" if told.type == "float" else "W"
        return Packed(
            f"compressed-tensors {number}{bits}A{16 if entering is None else entering.num_bits}",
            bits,
            outputs,
            inputs,
            dense=lambda: module.weight.double(),  # noqa: PLW0108 - there is none while compressed
            held_dense=True,
            rounds_activations=entering is not None or leaving is not None,
        )

    def rounds_activations(self, module: Any) -> bool:
        """Whether a scheme rounds what enters or leaves it: queries, keys and values of an attention."""
        scheme = getattr(module, "quantization_scheme", None)
        entering = getattr(scheme, "input_activations", None)
        return entering is not None or getattr(scheme, "output_activations", None) is not None

    def settle(self, model: Any) -> None:
        """Unpacks the layers; the library does so in a hook of the whole model, which never runs."""
        if hasattr(model, "ct_decompress_hook"):
            model.hf_quantizer.compressor.decompress_model(model)
