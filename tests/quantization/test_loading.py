"""Quantized checkpoints as they are published: loaded, proved, and refused where they lie."""

import json
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
from transformers import AutoModelForCausalLM

from pytest_injectivity.config.audit_config import AuditConfig, options
from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models.assumptions import assumptions
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.models.redraw import redraw
from pytest_injectivity.quantization.packed_modules import numbers, packed_layers
from pytest_injectivity.quantization.while_loading import WHILE_LOADING
from pytest_injectivity.testing import save_checkpoint, tiny_decoder
from tests.quantized import KINDS, as_gguf, by_bitsandbytes, configure, needs, saved_parent, write

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
    "fp8": ("fp8 E4M3", 8, True, False),
    "gguf-Q8_0": ("gguf Q8_0", 8, True, False),
    "gguf-Q4_0": ("gguf Q4_0", 4, True, False),
    "gptq": ("gptq W4A16", 4, False, False),
    "awq": ("awq W4A16", 4, False, False),
}
EXACT = [kind for kind, (*_, rounded) in PROVED.items() if not rounded]


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_parent(tmp_path_factory.mktemp("full") / "llama")


@pytest.fixture(scope="session")
def published(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a kind, written once."""
    written: dict[str, Path] = {}

    def get(kind: str) -> Path:
        needs(kind)
        if kind not in written:
            written[kind] = write(kind, full, tmp_path_factory.mktemp(kind) / "checkpoint")
        return written[kind]

    return get


def _library(path: Path) -> Any:
    """The library's own model; bitsandbytes on the same kernels as ours."""
    named = {"gguf_file": path.name} if path.is_file() else {}
    loader: Any = AutoModelForCausalLM.from_pretrained
    with quiet():
        model = loader(path.parent if named else path, **named)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"gptq", "awq"}])
def test_the_states_are_the_librarys(
    kind: str, published: Callable[[str], Path], relative: Relative
) -> None:
    """Base model first and hooks on blocks change nothing of a whole forward pass of the library."""
    found = load_decoder(str(published(kind)), device="cpu").states(IDS, [1, "norm"])
    with torch.no_grad():
        expected = _library(published(kind))(IDS, output_hidden_states=True).hidden_states
    assert relative(found[1], expected[1]) < 1e-5
    assert relative(found["norm"], expected[-1]) < 1e-5


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
    # The layers of AWQ compute in float16, whatever enters them.
    assert relative(states, exact) < (5e-3 if kind == "awq" else 1e-5)
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


def test_threshold_int8_depends_on_its_neighbours_and_says_so(
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


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", WHILE_LOADING)
def test_quantized_while_loading(name: str, family: str, tmp_path: Path) -> None:
    """Every matrix of the blocks, transposed ones of GPT-2 too, comes out in the bits asked for."""
    needs(name)
    folder = save_checkpoint(tiny_decoder(family, hidden=64), tmp_path / "full")
    decoder = load_decoder(str(folder), device="cpu", quantization=name)
    found = decoder.quantized
    assert found is not None
    assert (4 if name.endswith("4") else 8, 1.0) == (found.bits, found.share)
    assert found.kind.startswith(name)
    assert decoder.states(torch.arange(16)[None], ["norm"])["norm"].isfinite().all()


@pytest.mark.parametrize("name", ["torchao-int8", "torchao-int4", "torchao-float8"])
def test_gpt2_quantized_while_loading_is_near_its_parent(
    name: str, tmp_path: Path, relative: Relative
) -> None:
    """A transposed matrix that was not turned would be nowhere near."""
    needs(name)
    ids = torch.arange(16)[None]
    folder = save_checkpoint(tiny_decoder("gpt2", hidden=64), tmp_path / "full")
    expected = load_decoder(str(folder), device="cpu").states(ids, ["norm"])["norm"]
    decoder = load_decoder(str(folder), device="cpu", quantization=name)
    assert 1e-4 < relative(decoder.states(ids, ["norm"])["norm"], expected) < 0.5


def test_the_library_quantizes_the_same(full: Path, published: Callable[[str], Path]) -> None:
    """Quantized while loading, and quantized by the library, saved and loaded, are one model."""
    loaded = load_decoder(str(published("torchao-int8")), device="cpu").states(IDS, ["norm"])
    made = load_decoder(str(full), device="cpu", quantization="torchao-int8").states(IDS, ["norm"])
    assert made["norm"].equal(loaded["norm"])


@pytest.mark.parametrize("name", WHILE_LOADING)
def test_the_option_accepts_what_the_loader_does(name: str) -> None:
    """Every name that the loader takes is a value of the option."""
    assert name == AuditConfig(quantization=name).quantization


def test_the_option_lists_what_the_loader_does() -> None:
    """The error of a wrong value names every accepted one."""
    option = next(one for one in options() if one.name == "quantization")
    with pytest.raises(OptionError, match=f"give one of {', '.join(WHILE_LOADING)}"):
        option.metadata["parse"]("nf4")


@pytest.mark.parametrize("name", WHILE_LOADING)
def test_the_options_help_names_what_the_loader_does(name: str) -> None:
    """The help text stands in the option itself, so that ``pytest --help`` imports no list."""
    option = next(one for one in options() if one.name == "quantization")
    assert name in option.metadata["help"]


def test_a_quantized_checkpoint_is_not_quantized_again(published: Callable[[str], Path]) -> None:
    """Rounding what is rounded measures neither."""
    with pytest.raises(OptionError, match="is quantized already, with torchao"):
        load_decoder(str(published("torchao-int8")), quantization="bnb-nf4")


def test_an_unknown_quantization_is_refused(full: Path) -> None:
    """The names are listed."""
    with pytest.raises(OptionError, match="'int3' is not accepted: give one of bnb-nf4"):
        load_decoder(str(full), quantization="int3")


_CLAIMS = {
    "bnb": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "bnb-flags": {"load_in_4bit": True},
    "bnb-int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "fp8": {"quant_method": "fp8", "weight_block_size": [32, 32]},
    "torchao": {
        "quant_method": "torchao",
        "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_data": {}, "_version": 2}},
    },
}


@pytest.mark.parametrize("kind", _CLAIMS)
def test_plain_weights_that_claim_to_be_quantized_are_refused(
    kind: str, full: Path, tmp_path: Path
) -> None:
    """The configuration's word is not taken for it."""
    needs(kind)
    folder = save_checkpoint(load_decoder(str(full), device="cpu"), tmp_path / "liar")
    configure(folder, quantization_config=_CLAIMS[kind])
    with pytest.raises(ModelError, match=r"says that it is quantized|cannot be loaded"):
        load_decoder(str(folder), device="cpu")


def test_a_claim_of_four_bits_over_plain_weights_names_the_layers(
    full: Path, tmp_path: Path
) -> None:
    """What stands in the place of quantized layers is said."""
    needs("bnb")
    folder = save_checkpoint(load_decoder(str(full), device="cpu"), tmp_path / "liar")
    configure(folder, quantization_config=_CLAIMS["bnb"])
    with pytest.raises(ModelError, match=r"no matrix of its blocks is: they are plain weights"):
        load_decoder(str(folder), device="cpu")


def test_a_codebook_wider_than_its_claim_is_counted(published: Callable[[str], Path]) -> None:
    """Codes decide the bits: 4-bit layers that hold a code of 8 bits are not 4-bit layers."""
    decoder = load_decoder(str(published("torchao-int4")), device="cpu")
    (_, module, layer) = next(packed_layers(decoder.model))
    weight: Any = module.weight
    assert 4 == layer.bits
    weight.qdata[0, 0] = 100
    assert 8 == next(packed_layers(decoder.model))[2].bits


def test_quantized_weights_in_secret_are_refused(
    published: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without its scales an fp8 matrix would be loaded as something else."""
    folder = tmp_path / "secret"
    folder.mkdir()
    for path in published("fp8").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"holds quantized weights .* does not say how"):
        load_decoder(str(folder))


def test_float8_without_scales_is_refused(published: Callable[[str], Path], tmp_path: Path) -> None:
    """The library would take the codes for the weights."""
    folder = tmp_path / "unscaled"
    folder.mkdir()
    for path in published("fp8").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "mlp.up_proj.weight_" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"up_proj\.weight is stored in F8_E4M3 without the scales"
    ):
        load_decoder(str(folder), device="cpu")


def test_a_full_precision_gguf_is_its_parent(full: Path, tmp_path: Path) -> None:
    """Nothing is quantized, nothing is said to be, and every bit is the same."""
    needs("gguf")
    path = as_gguf("F32")(full, tmp_path / "file")
    decoder = load_decoder(str(path), device="cpu")
    expected = load_decoder(str(full), device="cpu").states(IDS, decoder.layers)
    assert decoder.quantized is None
    for layer, states in decoder.states(IDS, decoder.layers).items():
        assert expected[layer].equal(states)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"GGML" + data[4:], "cannot be read"),
        (lambda data: data[: len(data) // 2], "cannot be read"),
        (lambda _data: b"", "cannot be read"),
    ],
    ids=["magic", "truncated", "empty"],
)
def test_a_damaged_gguf_is_refused(
    damage: Callable[[bytes], bytes],
    message: str,
    published: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """Whatever the reader raises becomes one paragraph."""
    path = tmp_path / "model.gguf"
    path.write_bytes(damage(published("gguf-Q8_0").read_bytes()))
    with pytest.raises(ModelError, match=message):
        load_decoder(str(path), device="cpu")


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
