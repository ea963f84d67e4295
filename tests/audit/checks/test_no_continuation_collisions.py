from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, OptionError, Reason
from pytest_injectivity.audit.checks.no_continuation_collisions import choose_prompts
from pytest_injectivity.core.numbers import show_down
from pytest_injectivity.testing import byte_tokenizer, plant_equal_embeddings, tiny_decoder
from tests import brute_force
from tests.audits import Witness, audit_of

Additive = Callable[..., Audit]
Rows = Callable[..., Tensor]
# Four prompts of two lengths; the positions' table is zero, so continuation v is row v.
IDS = [[0, 1], [0, 2], [1, 2, 3], [4, 5, 6]]


def _one(audit: Audit, layer: int | str = 1, **asked: object) -> Reason:
    (reason,) = audit.check_no_continuation_collisions(layer, **asked).reasons  # type: ignore[arg-type]
    return reason


def _moved(rows: Tensor, token: int, distance: float, onto: int) -> Tensor:
    rows[token] = rows[onto]
    rows[token, 3] += distance
    return rows


def test_continuations_that_are_apart_pass(additive: Additive, random_rows: Rows) -> None:
    """With all that was compared: pairs, the closest, quantiles of the nearest rival, the floor."""
    rows = random_rows(12)
    audit = additive(rows, IDS)
    reason = _one(audit)
    assert ("PASS", 0, "no collision") == (str(reason.status), reason.value, reason.headline)
    assert "" == reason.would_pass
    text = "\n".join(reason.evidence)
    assert f"{4 * 12 * 11 // 2} pairs compared: 12 continuations of each of 4 prompts" in text
    closest = brute_force.near(audit.decoder.embedding_matrix(), 1e9)[0][0]
    assert f"closest pair, distance {closest:.4g}: token (" in text
    assert {"one_step_margin": pytest.approx(closest)} == reason.figures
    nearest = brute_force.nearest(rows)[0]
    low, middle = (brute_force.lower_quantile(np.repeat(nearest, 4), q) for q in (0.01, 0.5))
    assert f"from its nearest rival: 1 % {low:.4g}, 10 % " in text
    assert f"50 % {middle:.4g}" in text
    assert "resolution " in text


def test_equal_embedding_rows_are_one_continuation(tmp_path: Path) -> None:
    """They collide after every prompt, which another check counts; here they are said."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=9)
    plant_equal_embeddings(decoder, kept=3, copied=20)
    audit = audit_of(tmp_path, decoder, IDS, key=b"key")
    verdict = audit.check_no_continuation_collisions("0,all", prompts=2)
    assert 4 == len(verdict.reasons)
    for reason in verdict.reasons:
        assert ("PASS", 0, "no collision") == (str(reason.status), reason.value, reason.headline)
        assert (
            f"{2 * 62 * 61 // 2:,} pairs compared: 62 continuations of each" in reason.evidence[1]
        )
        assert reason.evidence[2].startswith(
            "3 tokens have the same embedding row as another (3 pairs, 1 class, the largest of 3): "
        )


def test_a_vocabulary_of_equal_rows_has_nothing_to_compare(additive: Additive) -> None:
    """Which fails: no two continuations are apart."""
    reason = _one(additive(torch.ones(12, 8), IDS))
    assert ("FAIL", "nothing was compared") == (str(reason.status), reason.headline)


def _merged(additive: Additive, tokens: int) -> Audit:
    """The embedding rows of the last tokens are apart, and adding a position rounds that away."""
    rows = torch.eye(64)
    rows[-tokens:] = rows[-1]
    rows[-tokens:, 0] = torch.arange(tokens) * 2.0**-40
    positions = torch.zeros(64, 64)
    positions[:, 0] = 1.0
    return additive(rows, IDS, positions)


def test_tokens_that_a_layer_merges_collide_after_every_prompt(additive: Additive) -> None:
    """Three equal continuations are three pairs a prompt, named by their tokens."""
    audit = _merged(additive, 3)
    reason = _one(audit, prompts=2)
    assert ("FAIL", 6, "6 collisions") == (str(reason.status), reason.value, reason.headline)
    assert reason.would_pass.startswith("no eps")
    said = [line for line in reason.evidence if line.startswith("collision, distance 0: ")]
    assert 3 == len(said)
    first, second = (audit.target.name_of_token(token) for token in (61, 62))
    assert f"{first} and {second} after prompt " in said[0]


@pytest.mark.parametrize("factor", [0.05, 0.2])
def test_pairs_within_the_resolution_are_unresolved(
    additive: Additive, random_rows: Rows, factor: float
) -> None:
    """Not equal and not to be told apart: one pair a prompt."""
    rows = random_rows(12)
    rows[10, 3] = 0.0
    rounding = 2.0**-24 * float(rows[10].double().norm())
    reason = _one(additive(_moved(rows, 11, factor * rounding, 10), IDS), prompts=3)
    assert ("FAIL", "3 unresolved pairs") == (str(reason.status), reason.headline)
    assert reason.would_pass.startswith("no eps")
    assert 3 == sum(line.startswith("unresolved, distance ") for line in reason.evidence)


def test_pairs_within_eps_are_near(additive: Additive, random_rows: Rows) -> None:
    """Of resolved pairs only eps makes one near; the smallest distance would have passed."""
    audit = additive(_moved(random_rows(12), 11, 0.125, 10), IDS)
    assert "no collision" == _one(audit, eps=0.12).headline
    near = _one(audit, eps=0.13)
    assert ("4 near (eps 0.13)", 4) == (near.headline, near.value)
    closest = brute_force.near(audit.decoder.embedding_matrix(), 1e9)[0][0]
    assert f"eps below {show_down(closest)}" == near.would_pass
    assert any(line.startswith("near, distance ") for line in near.evidence)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_brute_force(additive: Additive, seed: int) -> None:
    """All kinds together, at every eps: four times the pairs of a loop over the table."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 3, (24, 8), generator=generator).float()
    audit = additive(rows, IDS)
    for eps in (0.0, 1.0, 1.5, 2.0, 3.0):
        assert 4 * len(brute_force.near(rows, eps)) == _one(audit, eps=eps).value


def test_many_equal_continuations_are_all_counted(additive: Additive) -> None:
    """60 equal rows are 1,770 pairs a prompt."""
    reason = _one(_merged(additive, 60), prompts=2)
    assert ("3540 collisions", 3540) == (reason.headline, reason.value)


def test_eps_below_the_resolution_is_said(additive: Additive, random_rows: Rows) -> None:
    """And judged as asked."""
    audit = additive(random_rows(12), IDS)
    found = _one(audit, eps=1e-30)
    said = [line for line in found.evidence if "is below the resolution" in line]
    value = audit.resolution(1).value
    assert [f"eps 1e-30 is below the resolution: pairs near {value:.4g} decide"] == said
    assert "no collision" == found.headline


def test_a_relative_eps_is_of_the_prompt_sets_norm(additive: Additive) -> None:
    """1e-2 rel at a mean norm of 1000 is 10."""
    rows = torch.zeros(8, 8)
    rows[:, 0] = 1000.0
    rows[:, 1] = torch.tensor([0.0, 9.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0])
    audit = additive(rows, [[7, 0], [7, 1]])
    assert "2 near (eps 10)" == _one(audit, eps="1e-2 rel").headline
    assert "no collision" == _one(audit, eps=1e-2).headline


def test_the_prompts_closest_to_another_are_continued(tmp_path: Path) -> None:
    """By nearest-neighbor distance at the deepest layer asked for; ties go to the smaller hash."""
    ids = [[at, at + 1, 9] for at in range(8)]
    audit = audit_of(tmp_path, tiny_decoder("llama", layers=3), ids)
    for layers, deepest in (([1, 3], 3), (["norm", 1], "norm"), ([1], 1)):
        nearest = brute_force.nearest(audit.states(deepest))[0]  # type: ignore[arg-type]
        hashes = audit.prompts.hashes
        expected = sorted(range(8), key=lambda row: (nearest[row], hashes[row]))[:3]
        chosen = choose_prompts(audit, layers, 3)  # type: ignore[arg-type]
        # Mutual neighbors have one distance up to its last bit: whole pairs are compared.
        assert set(expected) == set(chosen.prompts) or nearest[expected[2]] == pytest.approx(
            nearest[chosen.prompts[2]], rel=1e-12
        )
        assert (0, deepest) == (chosen.full, chosen.layer)


def test_ties_go_to_the_smaller_hash(additive: Additive) -> None:
    """Four prompts with one state are equally close: the order of the file does not matter."""
    ids = [[at, 7] for at in range(4)]
    rows = torch.eye(8)
    (forward, backward) = (
        {audit.prompts.ids[prompt] for prompt in choose_prompts(audit, [1], 2).prompts}
        for audit in (additive(rows, ids), additive(rows, ids[::-1]))
    )
    assert forward == backward
    audit = additive(rows, ids)
    ranked = sorted(range(4), key=audit.prompts.hashes.__getitem__)
    assert tuple(ranked[:2]) == choose_prompts(audit, [1], 2).prompts


def test_a_prompt_that_fills_the_context_is_passed_over(tmp_path: Path) -> None:
    """The next one stands in for it, and the verdict counts it."""
    full = [list(range(1, 17)), [2, *range(2, 17)]]
    audit = audit_of(tmp_path, tiny_decoder("llama", context=16), [*full, [1, 2], [60, 5, 9]])
    reason = _one(audit, "norm", prompts=4)
    assert "PASS" == str(reason.status)
    assert f"{2 * 64 * 63 // 2:,} pairs compared" in "\n".join(reason.evidence)
    assert "2 prompts passed over: they fill the context of 16 tokens" in reason.evidence


def test_comparing_nothing_fails(tmp_path: Path) -> None:
    """Where every prompt fills the context."""
    full = [list(range(1, 9)), list(range(2, 10))]
    audit = audit_of(tmp_path, tiny_decoder("llama", context=8), full)
    reason = _one(audit)
    assert ("FAIL", "nothing was compared") == (str(reason.status), reason.headline)
    assert reason.value != reason.value
    assert "2 prompts passed over: they fill the context of 8 tokens" in reason.evidence


def test_a_continuation_that_is_not_finite_fails(tmp_path: Path) -> None:
    """One token's NaN, which no prompt has: NaN fails."""
    decoder = tiny_decoder("gpt2")
    decoder.parts.embeddings.weight[50] = torch.nan
    reason = _one(audit_of(tmp_path, decoder, IDS), prompts=2)
    assert ("FAIL", "2 of 128 continuations are not finite") == (
        str(reason.status),
        reason.headline,
    )


def test_a_layer_that_is_not_finite_fails_and_the_others_are_judged(tmp_path: Path) -> None:
    """The prompts are chosen at the deepest layer that is."""
    from pytest_injectivity.testing import plant_nan

    audit = audit_of(tmp_path, plant_nan(tiny_decoder("gpt2", layers=3), 3), IDS)
    first, second, third, norm = audit.check_no_continuation_collisions("all", prompts=2).reasons
    assert ["PASS", "PASS", "FAIL", "FAIL"] == [
        str(one.status) for one in (first, second, third, norm)
    ]
    assert any("closest to another at layer02" in line for line in first.evidence)
    assert "4 of 4 rows are not finite" == third.headline


def test_rows_beyond_the_tokenizer_are_counted_as_left_out(tmp_path: Path) -> None:
    """Padding that is all alike is no collision."""
    decoder = tiny_decoder("gpt2", vocab=270, tokenizer=byte_tokenizer())
    decoder.parts.embeddings.weight[256:] = 1.0
    reason = _one(audit_of(tmp_path, decoder, IDS, special_tokens="no"), prompts=1)
    assert "PASS" == str(reason.status)
    assert "14 rows of the embedding left out: no token of the tokenizer's" in reason.evidence


def test_tokens_are_text_and_named_by_keyed_hashes(tmp_path: Path) -> None:
    """Ids and text only when asked for; the same token has the same name all through a run."""
    decoder = tiny_decoder("gpt2", vocab=256, tokenizer=byte_tokenizer())
    plant_equal_embeddings(decoder, kept=ord("x"), copied=ord("\n"))
    decoder.parts.embeddings.weight[ord("\n"), 0] *= 1.0001
    audit = audit_of(tmp_path, decoder, IDS, special_tokens="no")
    plain = "\n".join(_one(audit, prompts=1).evidence)
    assert audit.target.name_of_token(ord("x")) in plain
    assert str(ord("x")) not in audit.target.name_of_token(ord("x")).partition("(")[0]
    shown = audit_of(tmp_path, decoder, IDS, special_tokens="no", show_prompts=True)
    name = shown.target.name_of_token(ord("\n"))
    assert name.startswith("token 10 (")
    assert "\n" not in name
    assert f"{name} and token 120 (" in "\n".join(_one(shown, prompts=1).evidence)
    assert audit.target.name_of_token(10) != shown.target.name_of_token(10)


@pytest.mark.parametrize("prompts", [0, -3])
def test_at_least_one_prompt_is_continued(
    additive: Additive, random_rows: Rows, prompts: int
) -> None:
    """Fewer are refused, before anything is computed."""
    with pytest.raises(OptionError, match=f"prompts={prompts}: give an integer of at least 1"):
        _one(additive(random_rows(12), IDS), prompts=prompts)


def test_progress_is_told_prompt_by_prompt(additive: Additive, random_rows: Rows) -> None:
    """One pass serves every layer asked for."""
    witness = Witness()
    audit = additive(random_rows(12), IDS, watcher=witness)
    audit.check_no_continuation_collisions("all", prompts=3)
    (work,) = [work for work in witness.works if work[0] == "continuations"]
    assert (3, [1, 2, 3]) == work[1:]


def test_a_second_audit_loads_no_weights(additive: Additive, random_rows: Rows) -> None:
    """With another eps too: everything that took a pass is in the store."""
    rows = _moved(random_rows(12), 11, 0.125, 10)
    first = additive(rows, IDS, key=b"one")
    expected = [_one(first, eps=eps) for eps in (0.0, 0.13)]
    again = Audit(first.config, key=b"one")
    assert expected == [_one(again, eps=eps) for eps in (0.0, 0.13)]
    assert not again.target.loaded
