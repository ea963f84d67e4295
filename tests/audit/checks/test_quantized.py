"""The check on what was proved of quantized weights, block by block."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pytest_injectivity import Audit, AuditConfig, OptionError
from tests import quantized
from tests.audit.comparisons.rounded import IDS
from tests.audits import audit_of

EIGHT = [list(range(at, at + 4)) for at in range(12)]


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A Llama of two blocks in AWQ's layout."""
    return _audit(tmp_path_factory.mktemp("awq"), "awq")


def _audit(folder: Path, kind: str) -> Audit:
    quantized.needs(kind)
    full = quantized.saved_parent(folder / "full")
    child = quantized.write(kind, full, folder / "child")
    (folder / "p.jsonl").write_text("\n".join(f'{{"ids": {ids}}}' for ids in EIGHT))
    config = AuditConfig(model=str(child), prompts=str(folder / "p.jsonl"), device="cpu")
    return Audit(config)


def test_every_block_of_four_bits_passes(four_bits: Audit) -> None:
    """By its bits and its share, which machines can read too."""
    verdict = four_bits.check_quantized(bits=4)
    assert verdict.passed
    assert ["layer01", "layer02"] == [one.where for one in verdict.reasons]
    assert [(4.0, 4.0)] * 2 == [(one.value, one.bound) for one in verdict.reasons]
    assert "proved: " in verdict.notes[0]
    assert "; embeddings not quantized" in verdict.notes[0]


def test_more_bits_than_asked_for_fail(four_bits: Audit) -> None:
    """With the bits that would have passed; by layer each block has its own."""
    verdict = four_bits.check_quantized(bits=3)
    assert "FAIL quantized layer01: bits of a quantized weight 4, wants <= 3 (+1 more)" == (
        verdict.first_line
    )
    assert "bits of at least 4" in verdict.text
    mixed = four_bits.check_quantized(bits={1: 4, 2: 3.5})
    assert ["PASS", "FAIL"] == [str(one.status) for one in mixed.reasons]
    assert four_bits.check_quantized(1, bits={1: 4, 2: 3}).passed
    assert not four_bits.check_quantized(bits=0).passed


def test_weights_in_full_precision_are_not_quantized(tmp_path: Path) -> None:
    """However many bits are allowed; the dtype found is said."""
    audit = audit_of(tmp_path, quantized.parent(vocab=64), IDS)
    verdict = audit.check_quantized(bits=32)
    assert "FAIL quantized layer01: not quantized: float32 weights (+1 more)" == verdict.first_line
    assert "proved: no quantized weights, " in verdict.text


def test_a_block_left_in_full_precision_is_named(tmp_path: Path) -> None:
    """The other one passes."""
    audit = _audit(tmp_path, "fp8")
    stored = tmp_path / "child" / "model.safetensors"
    plain = load_file(tmp_path / "full" / "model.safetensors")
    tensors = {
        name: plain.get(name, tensor) if ".layers.1." in name else tensor
        for name, tensor in load_file(stored).items()
        if not (".layers.1." in name and name.endswith("_scale_inv"))
    }
    save_file(tensors, stored, metadata={"format": "pt"})
    names = [f"model.layers.1.{name}" for name in ("self_attn", "mlp")]
    config = json.loads((tmp_path / "child" / "config.json").read_text())["quantization_config"]
    quantized.configure(
        tmp_path / "child", quantization_config={**config, "modules_to_not_convert": names}
    )
    verdict = audit.check_quantized(bits=8)
    assert "FAIL quantized layer02: not quantized: float32 weights" == verdict.first_line
    assert "PASS at layer01" in verdict.text


def test_a_share_below_the_one_asked_for_fails(four_bits: Audit) -> None:
    """The share counts the numbers of a block's matrices."""
    assert four_bits.check_quantized(bits=4, share=1.0).passed
    for share in (0.0, 1.5):
        with pytest.raises(OptionError, match=f"share={share}"):
            four_bits.check_quantized(bits=4, share=share)


@pytest.mark.parametrize("layer", [0, "norm", "all"])
def test_a_layer_that_no_block_writes_is_refused(four_bits: Audit, layer: int | str) -> None:
    """Embeddings and the final norm are no block."""
    with pytest.raises(OptionError, match="is written by no block"):
        four_bits.check_quantized(layer, bits=4)


def test_bits_are_required(four_bits: Audit) -> None:
    """They have no default."""
    with pytest.raises(OptionError, match="bits is not given"):
        four_bits.check_quantized()
