"""AutoRound's own export, whose ``packing_format`` names the layout of another tool."""

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import EncodedMatrix, grouped, require
from pytest_injectivity.quantization.formats.base import DecodedFormat
from pytest_injectivity.quantization.formats.compressed_layout import ROLES, matrix_of
from pytest_injectivity.quantization.formats.gptq import WORDS, matrix_of_inputs, matrix_of_outputs
from pytest_injectivity.quantization.stored_tensors import StoredWeights

_PACKINGS = ("auto_gptq", "auto_awq", "gptqmodel", "llm_compressor")
_FULL = 16


class AutoRound(DecodedFormat):
    """Matrices in the layout of GPTQ, AWQ or compressed-tensors, decoded as they are read."""

    name = "auto-round"
    methods = ("auto-round", "auto_round", "intel/auto-round")
    of_activations = (".input_scale", ".input_global_scale")

    def leaves_activations(self, stored: StoredWeights) -> bool:
        """Whether the configuration names fewer than 16 bits for activations."""
        return _activation_bits(stored) < _FULL

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The matrices of the layout that the configuration names.

        Raises:
            ModelError: the layout is not one that is read, or a layer lacks a tensor.
        """
        named = str(stored.said.get("packing_format", "auto_round:auto_gptq"))
        packing = named.removeprefix("auto_round:")
        if packing not in _PACKINGS:
            accepted = ", ".join(f"auto_round:{one}" for one in _PACKINGS)
            raise ModelError(
                f"AutoRound's packing_format {named!r:.50} is not read: {accepted} are"
            )
        if packing == "llm_compressor":
            return _compressed(stored)
        found = []
        for layer, parts in grouped(stored.tensors, WORDS).items():
            require(layer, parts, "codes", "zeros", "scales")
            if packing == "auto_awq":
                found.append(matrix_of_outputs(layer, parts, stored))
            else:
                second = packing == "gptqmodel"
                found.append(matrix_of_inputs(layer, parts, stored, second=second))
        return found


def _compressed(stored: StoredWeights) -> list[EncodedMatrix]:
    """The matrices of compressed-tensors' layout, whose scheme is the same for all layers."""
    scheme = {"input_activations": {"num_bits": _activation_bits(stored)}}
    return [
        matrix_of(layer, parts, stored, scheme)
        for layer, parts in grouped(stored.tensors, ROLES).items()
        if "weight_packed" in parts
    ]


def _activation_bits(stored: StoredWeights) -> int:
    bits = stored.said.get("act_bits")
    return bits if isinstance(bits, int) else _FULL
