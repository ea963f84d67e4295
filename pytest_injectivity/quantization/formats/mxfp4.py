"""MXFP4 as gpt-oss is published in: the experts' matrices as blocks of 32 four-bit floats."""

from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import EncodedMatrix, Parts, grouped, require
from pytest_injectivity.quantization.decoding.matrices import floats_of_4_bits
from pytest_injectivity.quantization.formats.base import DecodedFormat
from pytest_injectivity.quantization.stored_tensors import StoredWeights

_ROLES = {"_blocks": "blocks", "_scales": "scales"}
_DIMENSIONS = 4


class Mxfp4(DecodedFormat):
    """Stacks of the experts' matrices, decoded as they are read."""

    name = "mxfp4"
    methods = ("mxfp4",)
    traces = ("_proj_blocks", "_proj_scales")

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The stacks of blocks.

        Raises:
            ModelError: a stack has no scales, or no shape of a stack.
        """
        found = []
        for name, parts in grouped(stored.tensors, _ROLES).items():
            require(name, parts, "blocks", "scales")
            shape = stored.tensors[parts["blocks"]].shape
            if len(shape) != _DIMENSIONS:
                raise ModelError(
                    f"{parts['blocks']} has the shape {shape}: (experts, outputs, blocks, bytes) is"
                    " accepted"
                )
            experts, outputs, blocks, size = shape
            # The library multiplies by the experts' matrices from the right.
            whole = (experts, 2 * blocks * size, outputs)
            found.append(EncodedMatrix(name, whole, 4, "MXFP4", parts, _decoded))
        return found


def _decoded(parts: Parts) -> Tensor:
    matrices = floats_of_4_bits(parts["blocks"].flatten(-2), parts["scales"])
    return matrices.transpose(-2, -1)
