"""The benchmark of damage: what it does to a part is what it says, and is taken back.

All kinds of parts and damages on three models: ``./dev bench damage``.
"""

from pathlib import Path

import pytest
import torch

from benchmarks.damage import Pair, load, prompts_of, trials, untied
from benchmarks.damaged_parts import DAMAGES, KINDS, parts_of_kind, weight_of, with_weight
from pytest_injectivity import load_decoder
from pytest_injectivity.testing import tiny_decoder

SHARED = Path(__file__).parents[2] / "shared"
QUANTIZED = ("bnb-nf4", "torchao-int8")


@pytest.mark.parametrize("quantization", [None, *QUANTIZED])
def test_a_part_gets_another_weight_and_its_own_back(quantization: str | None) -> None:
    """Quantized as the part is; halves of a fused module one by one."""
    for package in ("bitsandbytes", "torchao") if quantization else ():
        pytest.importorskip(package, reason=f"{package} is not installed")
    decoder = load_decoder("builtin:gpt2-stdlib", device="cpu", quantization=quantization)
    ids = torch.tensor([[1, 2, 3]])
    before = decoder.states(ids, ["norm"])["norm"]
    (part, *_) = parts_of_kind(decoder, "k")
    exact = weight_of(decoder, part)
    with with_weight(decoder, part, 1.5 * exact):
        found = weight_of(decoder, part)
        assert (found - 1.5 * exact).norm() <= 0.11 * exact.norm()
        assert not decoder.states(ids, ["norm"])["norm"].equal(before)
    assert weight_of(decoder, part).equal(exact)
    assert decoder.states(ids, ["norm"])["norm"].equal(before)


def test_every_kind_of_part_is_found() -> None:
    """Of a model that has them all."""
    decoder = tiny_decoder("llama")
    counts = {kind: len(parts_of_kind(decoder, kind)) for kind in KINDS}
    assert counts == {
        **dict.fromkeys(("q", "k", "v", "o", "gate", "up", "down"), 2),
        "norm": 5,
        "embedding": 1,
        "head": 1,
    }


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_changes_a_weight(name: str) -> None:
    """A matrix and a vector, and the weight given stays as it is."""
    for weight in (torch.arange(1.0, 129.0).view(2, 64), torch.arange(1.0, 9.0)):
        before, other = weight.clone(), weight + 1
        assert not DAMAGES[name](weight, other, 1).equal(weight)
        assert weight.equal(before)


@pytest.mark.slow
def test_damage_in_four_bits_is_seen_named_and_blamed(tmp_path: Path) -> None:
    """Nearly all of one seed that has an effect."""
    if not SHARED.exists():
        pytest.skip("the shared models are not there")
    pytest.importorskip("bitsandbytes", reason="the extra bnb is not installed")
    parent = untied(SHARED / "models" / "qwen3-1m", tmp_path / "parent")
    pair = Pair(load_decoder(str(parent), device="cpu", quantization="bnb-nf4"), load(parent))
    found = [cell for _, _, cell in trials(pair, prompts_of(parent, SHARED), range(1), 8)]
    loud = [cell for cell in found if not cell.silent[0]]
    assert len(loud) > 40
    assert sum(cell.red[0] for cell in loud) >= 0.97 * len(loud)
    assert sum(cell.named[0] for cell in loud) >= 0.95 * len(loud)
    assert sum(cell.blamed[0] for cell in loud) >= 0.9 * len(loud)
