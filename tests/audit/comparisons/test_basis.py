"""Children in another basis: sound ones pass as their parent does, damaged ones do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_injectivity import Audit
from pytest_injectivity.audit.comparisons.basis import basis_of
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.resume import logits
from pytest_injectivity.reference.basis import BasisKind
from pytest_injectivity.testing import round_weights, tiny_decoder
from tests.audits import audit_against
from tests.rebased import folded, rotated

IDS = [[(3 * row + at * at) % 64 for at in range(5 + row % 9)] for row in range(40)]
LAYERS: tuple[Layer, ...] = (0, 1, 2, 3, 4, "norm")
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def _tiny(family: str = "llama") -> Decoder:
    decoder = tiny_decoder(family, layers=4)
    norm: Any = decoder.parts.norm
    norm.weight.copy_(torch.linspace(1.0, 4.0, 16))
    return decoder


def _damaged() -> Decoder:
    """Turned and rounded to 8 bits, one block's matrices 1.5 times too large."""
    child = round_weights(rotated(_tiny()), 8)
    for module in child.parts.blocks[1].modules():
        if isinstance(module, nn.Linear):
            module.weight.mul_(1.5)
    return child


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A child turned and rounded to 8 bits, which tests only look at."""
    child = round_weights(rotated(_tiny()), 8)
    return audit_against(tmp_path_factory.mktemp("turned"), child, _tiny(), IDS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("make", [rotated, folded])
def test_the_children_compute_their_parents_function(
    family: str, make: Callable[[Decoder], Decoder]
) -> None:
    """To float32's rounding, with other weights: what these tests rest on."""
    ids = torch.tensor(IDS[8])
    parent, child = _tiny(family), make(_tiny(family))
    assert torch.allclose(logits(parent, ids), logits(child, ids), atol=1e-5)
    own, theirs = (dict(one.model.named_parameters()) for one in (child, parent))
    changed = [name for name in theirs if not torch.allclose(own[name], theirs[name], atol=1e-2)]
    assert len(changed) > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_a_turned_child_is_told_at_every_layer(family: str, tmp_path: Path) -> None:
    """The embeddings, every block, and the final norm, whose gain is in the head."""
    audit = audit_against(tmp_path, rotated(_tiny(family)), _tiny(family), IDS)
    against = audit.comparisons.against
    for layer in LAYERS:
        basis = basis_of(against, layer)
        assert BasisKind.ROTATED is basis.kind
        assert basis.after < 1e-5
        assert basis.before > 0.5
        assert basis.matrix is not None
        own, parents = (one.states(layer).double().numpy() for one in (audit, audit.reference))
        assert np.allclose(own @ basis.matrix, parents, atol=1e-4)
        assert against.drift(layer).relative.max() < 1e-4
    assert len(LAYERS) == 6


def test_a_sound_child_of_8_bits_passes_and_the_verdict_says_why(turned: Audit) -> None:
    """Drift, next tokens, margins; drift before the rotation is that of unrelated states."""
    verdict = turned.check_state_drift_below(relative=0.15)
    assert verdict.passed
    words = "layer00: states are the parent's in another basis: rotated; "
    assert any(note.startswith(words) for note in verdict.notes)
    assert "… and 3 more layers in another basis" in verdict.text
    assert turned.check_next_token_kept(kl=0.001, top1=0.95).passed
    assert turned.check_margin_retained(fraction=0.8).passed
    assert turned.comparison("norm").margin.value == pytest.approx(1.0, abs=0.1)  # type: ignore[union-attr] # measured
    own, parents = (one.states(2).double() for one in (turned, turned.reference))
    assert ((own - parents).norm(dim=1) / parents.norm(dim=1)).min() > 0.5
    assert "rotated" == turned.comparison(2).basis
    assert turned.comparison(2).drift_max < 0.15  # type: ignore[operator] # it was measured


def test_a_second_run_fits_nothing(tmp_path: Path) -> None:
    """The map and what it explains are in the store, bit by bit."""
    child = rotated(_tiny())
    audit = audit_against(tmp_path, child, _tiny(), IDS)
    first = basis_of(audit.comparisons.against, "norm")
    again = Audit(audit.config)
    second = basis_of(again.comparisons.against, "norm")
    assert not again.target.loaded
    assert first.words == second.words
    assert first.matrix is not None
    assert second.matrix is not None
    assert np.array_equal(first.matrix, second.matrix)


@pytest.mark.slow
def test_a_turned_child_with_a_damaged_block_fails_there(tmp_path: Path) -> None:
    """The layers before it are the parent's, turned; from it on no rotation explains the states."""
    audit = audit_against(tmp_path, _damaged(), _tiny(), IDS)
    verdict = audit.check_state_drift_below(relative=0.35)
    assert "FAIL state_drift_below layer02: drift" in verdict.first_line
    assert "PASS at layer00, layer01" in verdict.text
    assert "neither the parent's states nor a rotation of them" in verdict.text
    assert "layer01: states are the parent's in another basis: rotated" in verdict.text
    assert "unknown" == audit.comparison(2).basis
    assert not audit.check_next_token_kept(kl=0.01, top1=0.9)


def test_moved_factors_change_no_state(tmp_path: Path) -> None:
    """A child as AWQ and SmoothQuant make it is in its parent's basis."""
    child = round_weights(folded(_tiny()), 8)
    audit = audit_against(tmp_path, child, _tiny(), IDS)
    kinds = {layer: basis_of(audit.comparisons.against, layer).kind for layer in LAYERS}
    assert dict.fromkeys(LAYERS, BasisKind.IDENTITY) == kinds
    assert audit.check_state_drift_below(relative=0.35).passed
    assert audit.check_next_token_kept(kl=0.05, top1=0.7).passed


def test_another_model_is_in_no_basis_of_the_parents(tmp_path: Path) -> None:
    """Its drift stays as it is, and the failure says that no rotation explains it."""
    audit = audit_against(tmp_path, tiny_decoder("llama", seed=5, layers=4), _tiny(), IDS)
    verdict = audit.check_state_drift_below(2, 0.35)
    assert verdict.reasons[0].value > 1.0
    assert "nor a rotation of them: one brings the embeddings from 1." in verdict.text


def test_a_small_vocabulary_does_not_decide(tmp_path: Path) -> None:
    """Which is said: a rotation of width 16 needs more tokens than 12."""
    settings = {"layers": 2, "vocab": 24}
    child, parent = (tiny_decoder("llama", **settings) for _ in range(2))
    ids = [[(row + at * at) % 24 for at in range(4)] for row in range(24)]
    audit = audit_against(tmp_path, rotated(child), parent, ids)
    basis = basis_of(audit.comparisons.against, 1)
    assert BasisKind.UNKNOWN is basis.kind
    assert "12 tokens are too few to fit a rotation of width 16" in basis.words
    assert not audit.check_state_drift_below(1, 0.35)


def test_weights_in_another_basis_are_judged_by_their_blocks(turned: Audit) -> None:
    """A sound child's blocks do what the parent's do, in its own basis; it says that weights differ."""
    weights = turned.check_weight_error_below(relative=0.5)
    blocks = turned.check_block_error_below(relative=0.1)
    assert weights.reasons[1].evidence[0].startswith("the weights are in another basis: rotated")
    assert blocks.passed
    assert 0 < max(reason.value for reason in blocks.reasons) < 0.1


def test_a_damaged_block_in_another_basis_is_named(tmp_path: Path) -> None:
    """By its own error; its parts cannot be exchanged with the parent's."""
    audit = audit_against(tmp_path, _damaged(), _tiny(), IDS)
    verdict = audit.check_block_error_below(relative=0.1)
    assert ["layer02"] == [reason.where for reason in verdict.failing]
    assert "layer02; its parts are in another basis" in verdict.text


def test_folded_weights_pass_with_their_factors_taken_back(tmp_path: Path) -> None:
    """Rounding apart, nothing is left of their difference."""
    audit = audit_against(tmp_path, folded(_tiny()), _tiny(), IDS)
    verdict = audit.check_weight_error_below()
    assert verdict.passed, verdict.text
    assert audit.check_block_error_below().passed
