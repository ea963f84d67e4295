"""The check of weights: parents of other parts, and layers without weights of their own."""

from pathlib import Path

import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.core.numbers import show_up
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.results.verdict import Status
from pytest_injectivity.testing import round_weights, tiny_decoder
from scripts.families.small_models import small_config, small_model
from tests.audits import audit_against
from tests.symmetries import permuted_units

IDS = [[at, 5 * at % 64, 7, at * at % 64] for at in range(8)]


def test_a_parent_of_other_parts_is_refused_by_name(tmp_path: Path) -> None:
    """Its shape is the model's; a failure of another check says it in the place of blame."""
    audit = audit_against(tmp_path, tiny_decoder("llama"), tiny_decoder("qwen3"), IDS)
    wanted = "has other parts than .*: layer01 has no self_attn.q_norm; give the checkpoint"
    for asked in (audit.check_weight_error_below, lambda: audit.blame(1)):
        with pytest.raises(OptionError, match=wanted):
            asked()
    drift = audit.check_state_drift_below(relative=0.01)
    assert not drift.passed
    assert (
        "blame: the parts of both models cannot be exchanged: layer01 has no self_attn.q_norm"
        in drift.text
    )


def test_what_would_have_passed_does(tmp_path: Path) -> None:
    """Each tensor within a bound of its own passes, and just below its error fails by name."""
    child = round_weights(tiny_decoder("llama"), 8)
    audit = audit_against(tmp_path, child, tiny_decoder("llama"), IDS)
    worst = max(audit.check_weight_error_below(1, relative=1.0).reasons[0].figures.values())
    assert 0 < worst < 0.01
    assert audit.check_weight_error_below(1, relative=worst).passed
    failed = audit.check_weight_error_below(1, relative=worst * (1 - 1e-9))
    assert not failed.passed
    assert f"would have passed: relative of at least {show_up(worst)}" in failed.text


def _with_biases(plain: Decoder, value: float) -> Decoder:
    """A model of the same weights, with biases of queries, keys and values."""
    biased = tiny_decoder("llama", attention_bias=True)
    biased.model.load_state_dict(plain.model.state_dict(), strict=False)
    for name, tensor in biased.model.named_parameters():
        if name.endswith("bias"):
            tensor.data.fill_(value)
    return biased


def test_a_bias_that_one_model_lacks_is_named(tmp_path: Path) -> None:
    """The child's or the parent's; the part to blame is exchanged with its bias."""
    plain, biased = tiny_decoder("llama"), _with_biases(tiny_decoder("llama"), 0.5)
    added = audit_against(tmp_path / "added", biased, plain, IDS)
    found = added.check_weight_error_below(1)
    assert not found.passed
    assert "self_attn.q_proj.bias: the parent has none" in found.first_line
    assert (0.0, "self_attn.o_proj") == (added.blame(1).left, added.blame(1).parts[0].name)
    lost = audit_against(tmp_path / "lost", plain, biased, IDS).check_weight_error_below(1)
    assert not lost.passed
    assert "self_attn.q_proj.bias: the model has none" in lost.first_line


def test_biases_of_zeros_that_the_parent_has_not_are_said(tmp_path: Path) -> None:
    """They pass, as evidence."""
    plain, biased = tiny_decoder("llama"), _with_biases(tiny_decoder("llama"), 0.0)
    found = audit_against(tmp_path, round_weights(biased, 8), plain, IDS)
    reason = found.check_weight_error_below(1, relative=0.02).reasons[0]
    assert reason.status is Status.PASS
    names = ", ".join(f"self_attn.{one}_proj.bias" for one in "qkvo")
    assert f"0 throughout, and the parent has none: {names}" in reason.evidence


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    """In the evidence of the first layer, and its weights count nowhere."""
    config = small_config("big_bird", {"is_decoder": True})
    child, parent = (Decoder("some", small_model(config)) for _ in range(2))
    child.model.get_submodule("bert.pooler").weight.data.zero_()  # type: ignore[union-attr, operator]
    audit = audit_against(tmp_path, round_weights(child, 8), parent, IDS)
    found = audit.check_weight_error_below([0, "norm"], relative=0.02)
    assert found.passed
    assert "left out, because no token reaches it: bert.pooler" in found.reasons[0].evidence


def test_another_order_of_hidden_units_is_named(tmp_path: Path) -> None:
    """It is the same function, which weights alone do not show."""
    child = permuted_units(tiny_decoder("llama"))
    audit = audit_against(tmp_path, child, tiny_decoder("llama"), IDS)
    (reason,) = audit.check_weight_error_below(1).reasons
    assert "FAIL" == reason.status
    (line,) = [one for one in reason.evidence if one.startswith("in another order")]
    assert "in another order, with an error of at most 0: " in line
    assert {"mlp.gate_proj (rows)", "mlp.up_proj (rows)", "mlp.down_proj (columns)"} == set(
        line.partition("0: ")[2].partition(";")[0].split(", ")
    )
    assert audit.check_block_error_below(1).passed
