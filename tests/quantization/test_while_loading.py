"""Full-precision checkpoints quantized while they are loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.config.options import options
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.quantization.while_loading import WHILE_LOADING
from pytest_injectivity.testing import save_checkpoint, tiny_decoder
from tests.quantized import needs

Relative = Callable[[Tensor, Tensor], float]
IDS = torch.arange(32).view(2, 16) * 7 % 256


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
    """A second rounding on top of a first is refused."""
    with pytest.raises(OptionError, match="is quantized already, with torchao"):
        load_decoder(str(published("torchao-int8")), quantization="bnb-nf4")


def test_an_unknown_quantization_is_refused(full: Path) -> None:
    """The message lists the names that are accepted."""
    with pytest.raises(OptionError, match="'int3' is not accepted: give one of bnb-nf4"):
        load_decoder(str(full), quantization="int3")
