"""Files of every type that the library gguf knows: loaded as what they are, or refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.quantization.gguf_header import GgufTensor
from pytest_injectivity.quantization.gguf_values import dense
from pytest_injectivity.testing import tiny_decoder
from tests.gguf_files import write_gguf

gguf = pytest.importorskip("gguf")

NAME = "blk.0.ffn_up.weight"
TYPES = list(gguf.GGMLQuantizationType)
PLAIN = {"F32", "F16", "BF16", "F64"}
DECODED = [kind for kind in TYPES if kind in gguf.quants._type_traits and kind.name not in PLAIN]
REFUSED = [kind for kind in TYPES if kind not in DECODED and kind.name not in PLAIN]
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6)


PARAMETERS = {
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Queries and keys are stored in another order of rows, and values are fewer.
PLACES = [(block, name) for block in range(7) for name in PARAMETERS]


def _llama(layers: int = 1) -> Decoder:
    return tiny_decoder("llama", hidden=256, layers=layers, vocab=64, intermediate_size=256)


def _bytes(kind: Any) -> np.ndarray:
    """Random blocks whose scales, wherever they lie, are small numbers of 16 bits."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    drawn = np.random.default_rng(0)
    return drawn.integers(0, 0x2F, (256, 256 // block * size), dtype=np.uint8)


@pytest.fixture(scope="module")
def every_type(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """One file with a matrix of each type that the library decodes."""
    path = tmp_path_factory.mktemp("types") / "every.gguf"
    raw = {
        f"blk.{block}.{name}.weight": (_bytes(kind), kind)
        for (block, name), kind in zip(PLACES, DECODED, strict=False)
    }
    assert len(raw) == len(DECODED)
    return load_decoder(str(write_gguf(_llama(7), path, raw=raw)), device="cpu")


@pytest.mark.parametrize("kind", DECODED, ids=lambda kind: kind.name)
def test_a_type_is_loaded_and_proved(kind: Any, every_type: Decoder) -> None:
    """The weights are the library's own numbers, and the type is counted under its name."""
    block, name = PLACES[DECODED.index(kind)]
    held = dict(every_type.model.named_parameters())
    found = held[f"model.layers.{block}.{PARAMETERS[name]}.weight"].detach().numpy()
    np.testing.assert_array_equal(found, gguf.quants.dequantize(_bytes(kind), kind))
    assert every_type.quantized is not None
    assert f"1 {kind.name}" in every_type.quantized.layers.split(", ")


def test_the_bits_are_those_of_the_types_names(every_type: Decoder) -> None:
    """On average over matrices of one size: a three-valued TQ1_0 counts as one bit, IQ4_NL as four."""
    names = [kind.name.partition("FP")[2] or kind.name for kind in DECODED]
    bits = [next(int(sign) for sign in name if sign.isdigit()) for name in names]
    assert every_type.quantized is not None
    assert sum(bits) / len(bits) == pytest.approx(every_type.quantized.bits, rel=1e-12)


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.name)
def test_a_type_that_is_not_decoded_is_refused_by_name(kind: Any, tmp_path: Path) -> None:
    """Integers, and types of intermediate results, are no weights."""
    path = write_gguf(_llama(), tmp_path / "it.gguf", raw={NAME: (_bytes(kind), kind)})
    with pytest.raises(ModelError, match=rf"cannot be loaded: .*{kind.name}"):
        load_decoder(str(path), device="cpu")


def _nvfp4_reference(block: list[int]) -> list[float]:
    """Four scales of unsigned E4M3, then the halves of eight bytes for each sixteen numbers."""
    numbers = []
    for at, byte in enumerate(block[:4]):
        exponent, mantissa = byte >> 3 & 15, byte & 7
        scale = mantissa / 512 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        scale = 0.0 if byte in {0, 127} else scale
        held = block[4 + 8 * at : 12 + 8 * at]
        numbers += [E2M1[one & 15] * scale for one in held] + [
            E2M1[one >> 4] * scale for one in held
        ]
    return numbers


def _mxfp4_reference(block: list[int]) -> list[float]:
    """One power of two, then the halves of sixteen bytes."""
    scale = 2.0 ** (block[0] - 127)
    return [E2M1[one & 15] * scale for one in block[1:]] + [
        E2M1[one >> 4] * scale for one in block[1:]
    ]


@pytest.mark.parametrize("name", ["NVFP4", "MXFP4"])
def test_every_code_under_every_scale(name: str) -> None:
    """All 16 codes under all scales that are finite numbers have the bits of the definition."""
    halves = [low | 15 - low << 4 for low in range(8)]
    if name == "NVFP4":
        scales = [byte % 128 for byte in range(1024)]
        blocks = [[*scales[at : at + 4], *halves * 4] for at in range(0, 1024, 4)]
    else:
        # Larger powers are infinite times six.
        blocks = [[byte % 253, *halves * 2] for byte in range(256)]
    reference = {"NVFP4": _nvfp4_reference, "MXFP4": _mxfp4_reference}[name]
    rows = np.array(blocks, np.uint8)
    tensor = GgufTensor(name, (256, 64 if name == "NVFP4" else 32), 0, rows.size)
    wanted = np.array([reference(block) for block in blocks], np.float32)
    np.testing.assert_array_equal(dense(rows.reshape(-1), tensor), wanted)


def _with_second(path: Path, **second: np.ndarray) -> str:
    """A file with one matrix in NVFP4 and these tensors beside it."""
    kind = gguf.GGMLQuantizationType.NVFP4
    more = {f"blk.0.{name}": numbers for name, numbers in second.items()}
    raw = {NAME: (_bytes(kind), kind)}
    return str(write_gguf(_llama(), path, raw=raw, tensors=more))


def test_the_second_scale_of_nvfp4_multiplies_its_matrix(tmp_path: Path) -> None:
    """llama.cpp writes it beside the matrix; that of the inputs is left, and said."""
    kind, second = gguf.GGMLQuantizationType.NVFP4, np.array([0.3], np.float32)
    both = {"ffn_up.scale": second, "ffn_up.input_scale": second}
    decoder = load_decoder(_with_second(tmp_path / "it.gguf", **both), device="cpu")
    held = dict(decoder.model.named_parameters())["model.layers.0.mlp.up_proj.weight"]
    wanted = gguf.quants.dequantize(_bytes(kind), kind) * second[0]
    np.testing.assert_array_equal(held.detach().numpy(), wanted)
    assert decoder.quantized is not None
    assert decoder.quantized.leaves_activations


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("ffn_down.scale", 1, r"blk\.0\.ffn_down\.scale"),
        ("ffn_up.scale", 3, r"ffn_up\.scale has 3 numbers for 1 matrices"),
    ],
)
def test_a_second_scale_for_no_matrix_is_refused(
    name: str, count: int, message: str, tmp_path: Path
) -> None:
    """One that is not beside NVFP4, and one of another count."""
    path = _with_second(tmp_path / "it.gguf", **{name: np.ones(count, np.float32)})
    with pytest.raises(ModelError, match=message):
        load_decoder(path, device="cpu")
