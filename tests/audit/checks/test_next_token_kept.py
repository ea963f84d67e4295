"""The check of next tokens: heads that are broken, its bounds, and what its verdict says."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, OptionError
from pytest_injectivity.core.numbers import show_down, show_up
from pytest_injectivity.models.resume import logits
from pytest_injectivity.reference.next_token import compare_next_tokens
from pytest_injectivity.results.verdict import Status
from pytest_injectivity.testing import round_weights, tiny_decoder
from tests.audits import audit_against

IDS = [[(3 * row + at * at) % 64 for at in range(5 + row % 9)] for row in range(40)]
POSITIONS = sum(len(ids) - 1 for ids in IDS)


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A model in 4 bits against its parent, which tests only look at."""
    child = round_weights(tiny_decoder("llama"), 4)
    return audit_against(tmp_path_factory.mktemp("rounded"), child, tiny_decoder("llama"), IDS)


def _with_head(folder: Path, change: Any) -> Audit:
    """A model whose head alone is changed; its states are the parent's."""
    child = tiny_decoder("llama")
    model: Any = child.model
    change(model.lm_head.weight)
    return audit_against(folder, child, tiny_decoder("llama"), IDS)


def test_the_numbers_are_those_of_the_logits(rounded: Audit) -> None:
    """Mean, quantiles and maximum of KL in float64, and the share of equal first choices."""
    divergences, same = [], []
    for ids in IDS:
        tokens = torch.tensor(ids)
        own, parents = (
            logits(one.decoder, tokens)[1:].double().log_softmax(dim=1)
            for one in (rounded, rounded.reference.target)
        )
        divergences += (parents.exp() * (parents - own)).sum(dim=1).tolist()
        same += (own.argmax(dim=1) == parents.argmax(dim=1)).tolist()
    found = rounded.next_token()
    assert (40, POSITIONS, False) == (found.prompts, found.positions, found.second_half)
    assert np.mean(divergences) == pytest.approx(found.kl.value, abs=1e-6)
    assert np.quantile(divergences, 0.99) == pytest.approx(found.kl_q99.value, abs=1e-6)
    assert np.quantile(divergences, 0.999) == pytest.approx(found.kl_q999.value, abs=1e-6)
    assert max(divergences) == pytest.approx(found.kl_max, abs=1e-6)
    assert np.mean(same) == found.top1.value
    assert rounded.news().run == rounded.run_summary()
    assert found == rounded.run_summary().next_token


def test_divergences_by_position_are_those_of_the_logits(rounded: Audit) -> None:
    """The mean over all prompts of positions between two powers of two."""
    sums: dict[int, list[float]] = {}
    for ids in IDS:
        own, parents = (
            logits(one.decoder, torch.tensor(ids)).double().log_softmax(dim=1)
            for one in (rounded, rounded.reference.target)
        )
        nats = (parents.exp() * (parents - own)).sum(dim=1).tolist()
        for position in range(1, len(ids)):
            sums.setdefault(position.bit_length(), []).append(nats[position])
    found = rounded.next_token().kl_by_position
    assert ["1", "2-3", "4-7"] == list(found)[:3]
    assert [np.mean(sums[bits]) for bits in sorted(sums)] == pytest.approx(
        [one.value for one in found.values()], abs=1e-6
    )


def test_divergences_by_layer_are_those_of_the_parent_from_the_models_states(
    rounded: Audit,
) -> None:
    """All of the divergence is there at the last layer, and a verdict says where half of it is."""
    found = rounded.next_token().kl_by_layer
    assert ["layer01", "layer02", "norm"] == list(found)
    parent = rounded.reference.target.decoder
    prompts = rounded.target.prompts.subset(16)
    nats = compare_next_tokens(rounded.decoder, parent, prompts.ids).nats
    assert found["norm"].value == pytest.approx(nats.mean(), rel=1e-5)
    verdict = rounded.check_next_token_kept(kl=1e-9)
    assert any(one.startswith("half of the KL is there by layer0") for one in verdict.notes)


def test_what_the_head_does_is_not_blamed_on_a_layer(tmp_path: Path) -> None:
    """Little of the divergence is there before the head."""
    audit = _with_head(tmp_path, lambda weight: weight.data.mul_(2.0))
    verdict = audit.check_next_token_kept(kl=1e-9)
    assert any(
        one.startswith("less than half of the KL is there by norm: 0 of ") for one in verdict.notes
    )


def test_what_would_have_passed_does(rounded: Audit) -> None:
    """Each bound at the value measured passes, and just beyond it fails at the head."""
    found = rounded.next_token()
    values = {
        "kl": found.kl.value,
        "kl_q99": found.kl_q99.value,
        "kl_q999": found.kl_q999.value,
        "kl_max": found.kl_max,
    }
    assert rounded.check_next_token_kept(**values, top1=found.top1.value)  # type: ignore[arg-type] # numbers
    for name, value in values.items():
        assert value is not None
        given: dict[str, Any] = {**values, name: float(np.nextafter(value, 0))}
        (reason,) = rounded.check_next_token_kept(**given).reasons
        assert (Status.FAIL, "head", value) == (reason.status, reason.where, reason.value)
        assert f"{name} of at least {show_up(value)}" in reason.would_pass
    assert found.top1.value is not None
    failed = rounded.check_next_token_kept(top1=float(np.nextafter(found.top1.value, 1)))
    assert failed.first_line.startswith("FAIL next_token_kept head: top-")
    assert f"top1 of at most {show_down(found.top1.value)}" in failed.text


def test_a_failure_says_where_it_is_worst_and_how_sure_that_is(rounded: Audit) -> None:
    """All numbers, their intervals, the position of the largest divergence, the parent."""
    verdict = rounded.check_next_token_kept(kl=1e-4)
    assert "FAIL next_token_kept head: mean KL 0.01811, wants <= 0.0001" == verdict.first_line
    assert f"KL(parent || model) in nats at {POSITIONS} positions of 40 prompts" in verdict.text
    assert "largest KL: prompt " in verdict.text
    assert "99.9 % of KL" in verdict.text
    assert "against " in verdict.text
    (reason,) = verdict.reasons
    assert reason.interval is not None
    assert reason.interval.low < reason.value < reason.interval.high


@pytest.mark.parametrize(
    ("kl", "status"),
    [(0.05, Status.PASS), (0.0182, Status.INSUFFICIENT), (0.001, Status.FAIL)],
)
def test_a_confidence_judges_what_the_sample_proves(
    rounded: Audit, kl: float, status: Status
) -> None:
    """A bound inside the interval is neither met nor missed."""
    assert status is rounded.check_next_token_kept(kl=kl, confidence=0.95).status


def test_the_largest_divergence_has_no_interval(rounded: Audit) -> None:
    """It is judged as it is."""
    largest = rounded.next_token().kl_max
    verdict = rounded.check_next_token_kept(kl_max=largest, confidence=0.95)
    assert verdict.passed
    assert verdict.reasons[0].interval is None


@pytest.mark.parametrize(("bad", "rows"), [(math.nan, slice(None)), (math.inf, 3)])
def test_a_head_with_logits_that_are_no_numbers_fails(
    tmp_path: Path, bad: float, rows: Any
) -> None:
    """Whatever the bounds are; every other check of the parent passes such a model."""

    def spoil(weight: torch.Tensor) -> None:
        weight[rows] = bad

    audit = _with_head(tmp_path, spoil)
    assert audit.check_state_drift_below(relative=0.0).passed
    verdict = audit.check_next_token_kept(kl=1e9, top1=1e-9, kl_max=1e9)
    expected = (
        f"FAIL next_token_kept head: logits not finite at {POSITIONS} of {POSITIONS} positions"
    )
    assert expected == verdict.first_line
    first = f"first at {audit.name_of(0)} position 1, {audit.name_of(1)} position 1"
    assert f"a NaN or an infinity in the model's logits, {first}" in verdict.text
    assert "… and 35 more prompts" in verdict.text
    assert "a NaN or an infinity in the weights: lm_head.weight\n" in verdict.text
    found = audit.next_token()
    assert (POSITIONS, 0, None) == (found.lost, found.reference_lost, found.kl.value)
    assert not audit.check_next_token_kept(top1=1e-9, confidence=0.95)


def test_a_parent_without_logits_fails_too(tmp_path: Path) -> None:
    """There is nothing to compare with, and the verdict says whose they are."""
    parent = tiny_decoder("llama")
    model: Any = parent.model
    model.lm_head.weight[:] = torch.nan
    audit = audit_against(tmp_path, tiny_decoder("llama"), parent, IDS)
    verdict = audit.check_next_token_kept(kl=1e9)
    assert "head: logits of the parent not finite" in verdict.first_line
    assert "in the parent's logits" in verdict.text


@pytest.mark.parametrize("change", [lambda weight: weight.zero_(), lambda weight: weight.neg_()])
def test_a_head_of_zeros_or_of_the_wrong_sign_fails_at_the_head(
    tmp_path: Path, change: Any
) -> None:
    """Its states are the parent's bit by bit; its next tokens are not."""
    audit = _with_head(tmp_path, change)
    assert audit.check_state_drift_below(relative=0.0).passed
    verdict = audit.check_next_token_kept(kl=0.1, top1=0.5)
    assert "FAIL next_token_kept head: mean KL" in verdict.first_line
    assert audit.next_token().top1.value < 0.1  # type: ignore[operator] # it was measured


def test_prompts_and_positions_are_bounded(rounded: Audit) -> None:
    """By those of smallest hash, cut to the first tokens; other sizes are other numbers."""
    some = rounded.next_token(prompts=7, tokens=4)
    assert (7, 21) == (some.prompts, some.positions)
    half = rounded.next_token(second_half=True)
    assert sum(len(ids) - 1 - len(ids) // 2 for ids in IDS) == half.positions
    assert half.second_half


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    """The store has what every position's number was: no model is loaded."""
    child = round_weights(tiny_decoder("llama"), 4)
    audit = audit_against(tmp_path, child, tiny_decoder("llama"), IDS)
    first = audit.next_token()
    again = Audit(audit.config)
    assert first == again.next_token()
    assert not again.target.loaded
    assert not again.reference.target.loaded


def test_no_bound_is_wrong_use(rounded: Audit) -> None:
    """Nothing passes because nothing was asked."""
    with pytest.raises(OptionError, match=r"no bound is given.*kl=.*top1="):
        rounded.check_next_token_kept()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kl": -1.0}, "kl=-1.0"),
        ({"kl": {1: 0.5}}, "kl="),
        ({"top1": 0.0}, "top1=0.0 passes whatever"),
        ({"top1": 1.5}, "top1=1.5"),
        ({"kl": 1.0, "tokens": 1}, "tokens=1: give an integer of at least 2"),
        ({"kl": 1.0, "prompts": 0}, "prompts=0"),
        ({"kl": 1.0, "confidence": 1.0}, "confidence=1.0"),
    ],
)
def test_numbers_that_are_none_are_refused(
    rounded: Audit, given: dict[str, Any], message: str
) -> None:
    """By name and value."""
    with pytest.raises(OptionError, match=message):
        rounded.check_next_token_kept(**given)


def test_prompts_of_one_token_have_nothing_to_compare(tmp_path: Path) -> None:
    """Position 0 alone is not judged."""
    audit = audit_against(tmp_path, tiny_decoder(seed=1), tiny_decoder(), [[at] for at in range(9)])
    with pytest.raises(OptionError, match="none of 9 prompts has 2 tokens"):
        audit.check_next_token_kept(kl=1.0)


def test_it_needs_a_parent() -> None:
    """Which the error says how to name."""
    audit = Audit(AuditConfig(prompts="builtin:stdlib", max_prompts=5))
    with pytest.raises(OptionError, match="give --injx-reference=MODEL"):
        audit.check_next_token_kept(kl=1.0)
