"""4-bit layers whose blocks end within a row, which the library's kernel for AVX512 decodes wrong."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity import load_decoder
from pytest_injectivity.quantization.formats.bitsandbytes import decoded
from pytest_injectivity.quantization.packed_modules import packed_layers
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

functional = pytest.importorskip("bitsandbytes.functional", reason="the extra bnb is not installed")
SHAPES = [(16, 128), (100, 336), (64, 172), (7, 10), (128, 48)]


def _by_blocks(weight: Tensor, state: object) -> Tensor:
    """The nearest value of the table to each number, in blocks of 64 numbers."""
    flat = torch.zeros(-(-weight.numel() // 64) * 64)
    flat[: weight.numel()] = weight.flatten()
    blocks = flat.view(-1, 64)
    scales = blocks.abs().amax(1, keepdim=True)
    table: Tensor = state.code  # type: ignore[attr-defined] # the library's own
    nearest = ((blocks / scales)[..., None] - table).abs().argmin(-1)
    return (table[nearest] * scales).flatten()[: weight.numel()].view_as(weight)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_codes_are_decoded_to_values_times_scales(kind: str, shape: tuple[int, int]) -> None:
    """Whatever the width; where the library's kernel is right, to its very bits."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    codes, state = functional.quantize_4bit(weight, quant_type=kind, blocksize=64)
    found = decoded(codes, state)
    assert (found - _by_blocks(weight, state)).abs().max() <= 1e-6
    if shape[1] % 64 == 0:
        assert found.equal(functional.dequantize_4bit(codes, state))


def test_scales_that_are_quantized_themselves_are_decoded_first() -> None:
    """As with double quantization."""
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    codes, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    assert state.nested
    assert decoded(codes, state).equal(functional.dequantize_4bit(codes, state))


def test_a_layer_computes_with_what_its_codes_stand_for(tmp_path: Path) -> None:
    """Where a block ends within a row, too: its output is that of the decoded matrix."""
    decoder = tiny_decoder("llama", layers=1, hidden=64, intermediate_size=336, vocab=32)
    save_checkpoint(decoder, tmp_path)
    loaded = load_decoder(str(tmp_path), device="cpu", quantization="bnb-nf4")
    layers = {name: (module, one) for name, module, one in packed_layers(loaded.model)}
    assert "model.layers.0.mlp.down_proj" in layers
    for module, one in layers.values():
        rows = torch.randn(3, one.inputs, generator=torch.Generator().manual_seed(1))
        exact = rows.double() @ one.dense().T
        assert (module(rows) - exact).norm() <= 1e-5 * exact.norm()
