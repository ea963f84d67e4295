"""Tensors of ``.gguf`` files made dense, against the library's own decoding bit for bit."""

import numpy as np
import pytest

from pytest_injectivity.quantization.gguf_header import GgufTensor
from pytest_injectivity.quantization.gguf_values import dense

gguf = pytest.importorskip("gguf")

KINDS = [
    kind
    for kind in gguf.GGMLQuantizationType
    if kind in gguf.quants._type_traits and kind.name not in {"F32", "F16"}
]


def _random(kind: str, shape: tuple[int, ...], lead: int = 7) -> tuple[np.ndarray, GgufTensor]:
    """A file of random bytes that holds one tensor, some bytes from its beginning."""
    block, size = gguf.constants.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    nbytes = int(np.prod(shape)) // block * size
    drawn = np.random.default_rng(0)
    blob = drawn.integers(0, 256, lead + nbytes, dtype=np.uint8)
    return blob, GgufTensor(kind, shape, lead, nbytes)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(5, 768), (2, 3, 256), (512,)])
def test_values_are_the_librarys(kind: "gguf.GGMLQuantizationType", shape: tuple[int, ...]) -> None:
    """For every type that it decodes, whatever is decoded at once, NaN for NaN."""
    blob, tensor = _random(kind.name, shape)
    _, size = gguf.constants.GGML_QUANT_SIZES[kind]
    block = gguf.constants.GGML_QUANT_SIZES[kind][0]
    rows = blob[7:].reshape(*shape[:-1], shape[-1] // block * size)
    expected = gguf.quants.dequantize(rows, kind)
    for at_once in (1, 2000, 2**21):
        found = dense(blob, tensor, at_once=at_once)
        assert np.float32 == found.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("F32", np.float32), ("F16", np.float16), ("F64", np.float64)]
)
def test_plain_numbers_are_themselves(kind: str, dtype: type) -> None:
    """Widened, or rounded once, to float32."""
    values = np.arange(6, dtype=dtype).reshape(2, 3) / 3
    blob = np.concatenate([np.zeros(8, np.uint8), values.reshape(-1).view(np.uint8)])
    found = dense(blob, GgufTensor(kind, (2, 3), 8, values.nbytes))
    np.testing.assert_array_equal(found, values.astype(np.float32))


@pytest.mark.parametrize("kind", ["I8", "I16", "I32", "I64"])
def test_integers_are_refused(kind: str) -> None:
    """They are no weights."""
    with pytest.raises(ValueError, match=f"type {kind} holds integers"):
        dense(np.zeros(64, np.uint8), GgufTensor(kind, (2,), 0, 16))
