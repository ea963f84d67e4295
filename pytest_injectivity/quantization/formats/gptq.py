"""GPTQ and AWQ: integers in words, whose bits the shapes of the zero points tell."""

from functools import partial
from math import ceil

from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import (
    EncodedMatrix,
    Parts,
    grouped,
    require,
    shape_of,
)
from pytest_injectivity.quantization.decoding.matrices import inputs_in_words, outputs_in_words
from pytest_injectivity.quantization.formats.base import DecodedFormat
from pytest_injectivity.quantization.stored_tensors import StoredWeights

WORDS = {".qweight": "codes", ".qzeros": "zeros", ".scales": "scales", ".g_idx": "order"}
_WORD = 32
_FIRST, _SECOND = "gptq", "gptq_v2"


class Gptq(DecodedFormat):
    """Words of consecutive inputs, as AutoGPTQ and gptqmodel write them, decoded as they are read."""

    name = "gptq"
    methods: tuple[str, ...] = ("gptq",)
    traces = (".qweight",)

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The matrices of words.

        Raises:
            ModelError: a layer lacks a tensor, or its shapes contradict each other.
        """
        found = []
        for layer, parts in grouped(stored.tensors, WORDS).items():
            require(layer, parts, "codes", "zeros", "scales")
            found.append(self._matrix(layer, parts, stored))
        return found

    def _matrix(self, layer: str, parts: dict[str, str], stored: StoredWeights) -> EncodedMatrix:
        named = _named(stored, "checkpoint_format", "format") or {_FIRST}
        if len(named) > 1 or not named <= {_FIRST, _SECOND}:
            raise ModelError(
                f"GPTQ of the format {' and '.join(sorted(named))} is not read: {_FIRST} or {_SECOND} is"
            )
        if stored.said.get("desc_act"):
            require(layer, parts, "order")
        return matrix_of_inputs(layer, parts, stored, second=named == {_SECOND})


class Awq(Gptq):
    """Words of interleaved outputs, as AutoAWQ writes them."""

    name = "awq"
    methods = ("awq",)

    def _matrix(self, layer: str, parts: dict[str, str], stored: StoredWeights) -> EncodedMatrix:
        others = _named(stored, "version", "checkpoint_format", "format") - {"gemm"}
        others |= _named(stored, "backend") & {"llm-awq"}
        if others:
            raise ModelError(
                f"AWQ of the version {' and '.join(sorted(others))} is not read: gemm is"
            )
        return matrix_of_outputs(layer, parts, stored)


def _named(stored: StoredWeights, *keys: str) -> set[str]:
    """The layouts that the configuration names: each tool has a key of its own for them."""
    return {f"{stored.said[key]!s:.50}".lower() for key in keys if stored.said.get(key)}


def matrix_of_inputs(
    layer: str, parts: dict[str, str], stored: StoredWeights, *, second: bool
) -> EncodedMatrix:
    """A matrix in GPTQ's layout.

    Args:
        layer: its name.
        parts: the names of its tensors, by role (`WORDS`).
        stored: what the files hold.
        second: zero points are stored as they are; the first version of the layout has one less.
    """
    bits = _bits(layer, parts, stored)
    rows, outputs = shape_of(stored, parts["codes"])
    _refuse_other_groups(layer, rows * _WORD // bits, parts, stored)
    decode = partial(_by_inputs, bits=bits, less=0 if second else 1)
    shape = (outputs, rows * _WORD // bits)
    return EncodedMatrix(f"{layer}.weight", shape, bits, f"W{bits}A16", parts, decode)


def matrix_of_outputs(layer: str, parts: dict[str, str], stored: StoredWeights) -> EncodedMatrix:
    """A matrix in AWQ's layout; the arguments are those of `matrix_of_inputs`."""
    bits = _bits(layer, parts, stored)
    inputs = shape_of(stored, parts["codes"])[0]
    _refuse_other_groups(layer, inputs, parts, stored)
    outputs = shape_of(stored, parts["scales"])[1]
    decode = partial(_by_outputs, bits=bits)
    return EncodedMatrix(f"{layer}.weight", (outputs, inputs), bits, f"W{bits}A16", parts, decode)


def _bits(layer: str, parts: dict[str, str], stored: StoredWeights) -> int:
    """The bits of a code: zero points are packed as codes are, one for each scale."""
    zeros, scales = (stored.tensors[parts[role]].shape for role in ("zeros", "scales"))
    fits = len(zeros) == len(scales) == 2 and scales[1] > 0 and zeros[0] == scales[0]  # noqa: PLR2004 - matrices
    bits, rest = divmod(_WORD * zeros[1], scales[1]) if fits else (0, 0)
    if rest or not 1 < bits <= 8:  # noqa: PLR2004 - a byte
        raise ModelError(
            f"{layer}: qzeros of shape {zeros} and scales of shape {scales} are no grid of codes of"
            " 2 to 8 bits"
        )
    told = stored.said.get("bits")
    if isinstance(told, int) and told != bits and not _mixed(stored):
        raise ModelError(f"{layer} stores codes of {bits} bits, and the configuration says {told}")
    return bits


def _mixed(stored: StoredWeights) -> bool:
    """Whether layers have schemes of their own."""
    return bool(stored.said.get("dynamic") or stored.said.get("extra_config"))


def _refuse_other_groups(
    layer: str, inputs: int, parts: dict[str, str], stored: StoredWeights
) -> None:
    """Refuses fewer or more groups than the configuration says: their scales are not all there."""
    size, groups = stored.said.get("group_size"), stored.tensors[parts["scales"]].shape[0]
    if not isinstance(size, int) or size == 0 or _mixed(stored):
        return
    wanted = ceil(inputs / size) if size > 0 else 1
    if groups != wanted:
        raise ModelError(
            f"{layer} has scales of {groups} groups, and group_size {size} of the configuration makes"
            f" {wanted} of {inputs} inputs"
        )


def _by_inputs(parts: Parts, *, bits: int, less: int) -> Tensor:
    return inputs_in_words(
        parts["codes"],
        parts["scales"],
        parts["zeros"],
        bits=bits,
        less=less,
        order=parts.get("order"),
    )


def _by_outputs(parts: Parts, *, bits: int) -> Tensor:
    return outputs_in_words(parts["codes"], parts["scales"], parts["zeros"], bits=bits)
