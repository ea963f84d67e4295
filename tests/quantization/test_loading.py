"""Quantized checkpoints as they are published: loaded, proved, and refused where they lie."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.assumptions import assumptions
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.models.float64 import float64_copy
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.models.redraw import redraw
from pytest_injectivity.quantization.packed_modules import numbers, packed_layers
from pytest_injectivity.testing import save_checkpoint
from tests.quantized import KINDS, by_bitsandbytes, needs

Relative = Callable[[Tensor, Tensor], float]
IDS = torch.arange(32).view(2, 16) * 7 % 256

# Kind, bits, held dense, activations rounded.
PROVED = {
    "bnb-nf4": ("bnb-nf4", 4, False, False),
    "bnb-fp4": ("bnb-fp4", 4, False, False),
    "bnb-double": ("bnb-nf4", 4, False, False),
    "bnb-int8": ("bnb-int8", 8, False, True),
    "torchao-int8": ("torchao-int8", 8, False, False),
    "torchao-int4": ("torchao-int4", 4, False, False),
    "torchao-float8": ("torchao-float8_e4m3fn", 8, False, False),
    "torchao-dynamic": ("torchao-int8", 8, False, True),
    "ct-W4A16": ("compressed-tensors W4A16", 4, True, False),
    "ct-W8A16": ("compressed-tensors W8A16", 8, True, False),
    "ct-W8A8": ("compressed-tensors W8A8", 8, True, True),
    "ct-FP8_DYNAMIC": ("compressed-tensors FP8A8", 8, True, True),
    "ct-W8A16-KV8": ("compressed-tensors W8A16", 8, True, True),
    "fp8": ("fp8 E4M3", 8, True, False),
    "gguf-Q8_0": ("gguf Q8_0", 8, True, False),
    "gguf-Q4_0": ("gguf Q4_0", 4, True, False),
    "gptq": ("gptq W4A16", 4, True, False),
    "awq": ("awq W4A16", 4, True, False),
}
# What the library itself needs where this package decodes.
LIBRARYS = {"fp8": ("accelerate",), "gptq": ("gptqmodel",), "awq": ("gptqmodel",)}
# Kernels of gptqmodel that multiply by the weights as they are; others round the scales once more.
PLAIN = {"gptq": "torch", "awq": "torch_awq"}
EXACT = [kind for kind, (*_, rounded) in PROVED.items() if not rounded]


def _library(path: Path, kind: str) -> Any:
    """The library's own model; bitsandbytes on the same kernels as ours."""
    named: dict[str, Any] = {"gguf_file": path.name} if path.is_file() else {}
    if kind in PLAIN:
        named["config"] = AutoConfig.from_pretrained(path)
        named["config"].quantization_config |= {"backend": PLAIN[kind]}
    loader: Any = AutoModelForCausalLM.from_pretrained
    with quiet():
        model = loader(path.parent if path.is_file() else path, **named)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_states_are_the_librarys(
    kind: str, published: Callable[[str], Path], relative: Relative
) -> None:
    """Base model first and hooks on blocks change nothing of a whole forward pass of the library.

    ./dev tools gptqmodel runs it where the library reads GPTQ and AWQ.
    """
    for name in LIBRARYS.get(kind, ()):
        pytest.importorskip(name)
    # Its layers of AWQ compute in float16, and its kernel of GPTQ rounds the scales once more.
    near = {"gptq": 2e-3, "awq": 5e-3}.get(kind, 1e-5)
    found = load_decoder(str(published(kind)), device="cpu").states(IDS, [1, "norm"])
    with torch.no_grad():
        expected = _library(published(kind), kind)(IDS, output_hidden_states=True).hidden_states
    assert relative(found[1], expected[1]) < near
    assert relative(found["norm"], expected[-1]) < near


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_loaded_is_proved(kind: str, published: Callable[[str], Path]) -> None:
    """Kind and bits, and that every matrix of the blocks is quantized."""
    decoder = load_decoder(str(published(kind)), device="cpu")
    found = decoder.quantized
    assert found is not None
    assert PROVED[kind] == (found.kind, found.bits, found.dense, found.rounds_activations)
    assert (1.0, "14 ") == (found.share, found.layers[:3])
    assert torch.float32 == decoder.dtype
    assert decoder.tokenizer.encode("ab") == [97, 98]


@pytest.mark.parametrize("kind", EXACT)
def test_float64_has_the_weights_the_layers_multiply_by(
    kind: str, published: Callable[[str], Path], full: Path, relative: Relative
) -> None:
    """A dense copy is as near as rounding, the parent is not; so the bits are really fewer."""
    decoder = load_decoder(str(published(kind)), device="cpu")
    states = decoder.states(IDS, ["norm"])["norm"]
    copy = decoder.as_float64()
    exact = copy.states(IDS, ["norm"])["norm"]
    parent = load_decoder(str(full), device="cpu").states(IDS, ["norm"])["norm"]
    assert torch.float64 == exact.dtype
    assert not list(packed_layers(copy.model))
    assert relative(states, exact) < 1e-5
    assert relative(states, parent) > 5e-3


@pytest.mark.parametrize("kind", sorted(PROVED.keys() - set(EXACT)))
def test_rounded_activations_have_no_float64(kind: str, published: Callable[[str], Path]) -> None:
    """A copy would compute another function."""
    with pytest.raises(ModelError, match="rounds activations as it runs"):
        load_decoder(str(published(kind)), device="cpu").as_float64()
    with pytest.raises(ModelError, match="rounds activations as it runs"):
        load_decoder(str(published(kind)), device="cpu", dtype="float64")


@pytest.mark.parametrize("kind", ["bnb-nf4", "torchao-int8", "ct-W4A16", "gguf-Q8_0"])
def test_facts_count_numbers_and_not_bytes(
    kind: str, published: Callable[[str], Path], full: Path
) -> None:
    """A packed byte of two weights counts twice: what a float64 copy needs is known beforehand."""
    decoder = load_decoder(str(published(kind)), device="cpu")
    parent = load_decoder(str(full), device="cpu")
    assert numbers(parent.model) == ModelFacts.of(decoder).parameters
    assert decoder.quantized == ModelFacts.of(decoder).quantized


def test_the_architecture_of_packed_weights_is_drawn_afresh(
    published: Callable[[str], Path],
) -> None:
    """A diagnosis draws the dense weights of a copy; the audited weights stay."""
    decoder = load_decoder(str(published("bnb-nf4")), device="cpu")
    before = decoder.states(IDS, ["norm"])["norm"]
    copy = decoder.as_float64()
    redraw(copy, torch.Generator().manual_seed(0))
    assert not copy.states(IDS, ["norm"])["norm"].float().equal(before)
    assert decoder.states(IDS, ["norm"])["norm"].equal(before)


def test_bitsandbytes_survives_its_state_dict(published: Callable[[str], Path]) -> None:
    """On processors with AVX512-BF16 the packed path would lose its scales in one."""
    decoder = load_decoder(str(published("bnb-nf4")), device="cpu")
    before = decoder.states(IDS, ["norm"])["norm"]
    decoder.model.state_dict()
    assert decoder.states(IDS, ["norm"])["norm"].equal(before)


def test_the_assumptions_say_that_weights_are_quantized(published: Callable[[str], Path]) -> None:
    """The theorem speaks of real weights, not of a grid: nothing is certified."""
    found = assumptions(load_decoder(str(published("torchao-int4")), device="cpu"))
    assert found.line.endswith("quantized to 4 bits")
    assert not found.analytic_architecture


def test_threshold_int8_depends_on_its_neighbors_and_says_so(
    full: Path, tmp_path: Path, relative: Relative
) -> None:
    """Outliers of one prompt change how the channels of another are rounded."""
    needs("bnb")
    tensors = load_file(full / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith("input_layernorm.weight"):
            tensor[:2] = 6.0
    planted = tmp_path / "planted"
    save_checkpoint(load_decoder(str(full), device="cpu"), planted)
    save_file(tensors, planted / "model.safetensors", metadata={"format": "pt"})
    decoder = load_decoder(str(planted), device="cpu", quantization="bnb-int8")
    assert decoder.quantized is not None
    assert "depend on the prompts beside it" in decoder.quantized.caution
    alone = decoder.states(IDS[:1], ["norm"])["norm"]
    beside = [
        decoder.states(torch.cat([IDS[:1], other.expand(15, -1)]), ["norm"])["norm"][:1]
        for other in (IDS[1:] + 1, IDS[1:] + 9)
    ]
    assert max(relative(states, alone) for states in beside) > 1e-3


def test_int8_without_a_threshold_is_alone_in_its_batch(full: Path, tmp_path: Path) -> None:
    """No channel is treated by what other rows hold: no caution, and the same states beside any."""
    needs("bnb")
    folder = by_bitsandbytes(load_in_8bit=True, llm_int8_threshold=0.0)(
        full, tmp_path / "quantized"
    )
    decoder = load_decoder(str(folder), device="cpu")
    assert decoder.quantized is not None
    assert "" == decoder.quantized.caution
    alone = decoder.states(IDS[:1], ["norm"])["norm"]
    beside = decoder.states(torch.cat([IDS, IDS + 1]) % 256, ["norm"])["norm"][:1]
    assert alone.equal(beside)


def test_what_was_left_out_is_not_in_the_share(full: Path, tmp_path: Path) -> None:
    """Two matrices of seven stay plain: the share is that of the numbers, not of the layers."""
    needs("bnb")
    left_out = ["lm_head", "q_proj", "up_proj"]
    made = by_bitsandbytes(load_in_4bit=True, llm_int8_skip_modules=left_out)
    decoder = load_decoder(str(made(full, tmp_path / "quantized")), device="cpu")
    blocks = decoder.parts.blocks
    matrices = dict(load_decoder(str(full)).parts.blocks.named_parameters())
    sizes = {name: one.numel() for name, one in matrices.items() if one.ndim == 2}
    plain = sum(size for name, size in sizes.items() if any(part in name for part in left_out))
    assert decoder.quantized is not None
    assert 1 - plain / sum(sizes.values()) == pytest.approx(decoder.quantized.share, rel=1e-12)
    assert "10 Linear4bit" == decoder.quantized.layers
    assert 10 == len(list(packed_layers(blocks)))
    assert " % of the blocks' weights" in decoder.quantized.line


@pytest.fixture
def hub() -> Iterator[list[str]]:
    """A package ``kernels`` that records what is fetched from it."""
    asked: list[str] = []
    module: Any = ModuleType("kernels")
    module.get_kernel = lambda name, **_: asked.append(name)
    before = sys.modules.get("kernels")
    sys.modules["kernels"] = module
    yield asked
    if before is None:
        del sys.modules["kernels"]
    else:
        sys.modules["kernels"] = before


def test_no_kernel_is_fetched(
    hub: list[str], published: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package of hub kernels is out of reach while libraries are imported, and back after."""
    folder = published("bnb-nf4")
    stand_in = sys.modules["kernels"]
    seen: list[Any] = []
    import bitsandbytes

    find = bitsandbytes.nn.Linear4bit.__init__

    def record(*args: Any, **kwargs: Any) -> None:
        seen.append(sys.modules["kernels"])
        find(*args, **kwargs)

    monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "__init__", record)
    load_decoder(str(folder), device="cpu")
    assert ([], {None}) == (hub, set(seen))
    assert stand_in is sys.modules["kernels"]


def test_the_terminal_stays_quiet(
    published: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Progress bars and banners of the libraries are not the user's."""
    for kind in ("ct-W8A16", "gguf-Q8_0"):
        load_decoder(str(published(kind)), device="cpu")
        path = published(kind)
    caplog.clear()
    capfd.readouterr()
    decoder: Decoder = load_decoder(str(path), device="cpu")
    decoder.states(IDS, ["norm"])
    assert ("", "") == tuple(capfd.readouterr())
    assert [] == [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", ["ct-W8A8", "ct-FP8_DYNAMIC"])
def test_the_dense_copy_of_rounded_layers_rounds_nothing(
    kind: str, published: Callable[[str], Path], relative: Relative
) -> None:
    """The ways of evaluating a prompt are compared in float64 without the jumps of a rounding."""
    decoder = load_decoder(str(published(kind)), device="cpu")
    copied: Any = float64_copy(decoder.model)
    assert 14 == len(list(packed_layers(decoder.model)))
    assert not list(packed_layers(copied))
    rounded = decoder.states(IDS, ["norm"])["norm"]
    plain = Decoder("copy", copied, float64=True).states(IDS, ["norm"])["norm"]
    assert relative(rounded, plain) > 1e-4
