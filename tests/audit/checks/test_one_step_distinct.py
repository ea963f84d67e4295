"""All tokens as embedding rows, put first and after BOS, against brute force."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, Reason
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.states.last_states import evaluate_last
from pytest_injectivity.testing import (
    byte_tokenizer,
    plant_equal_embeddings,
    plant_nan,
    tiny_decoder,
)
from tests import brute_force
from tests.audits import Witness, audit_of

Additive = Callable[..., Audit]
Rows = Callable[..., Tensor]
IDS = [[0, 1], [0, 2], [1, 2, 3]]
AFTER = "after the tokenizer's special tokens"


def _one(audit: Audit, layer: int | str = 1, **asked: object) -> Reason:
    (reason,) = audit.check_one_step_distinct(layer, **asked).reasons  # type: ignore[arg-type]
    return reason


def _first(audit: Audit, layer: Layer, before: tuple[int, ...] = ()) -> Tensor:
    """The state of every token put after others, by a pass over whole prompts."""
    ids = torch.tensor([[*before, token] for token in range(audit.decoder.vocab_size)])
    return audit.decoder.states(ids, [layer])[layer][:, -1]


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "mamba"])
def test_the_margin_is_that_of_brute_force(tmp_path: Path, family: str) -> None:
    """At each layer, named with its pair and beside the resolution of the first position."""
    audit = audit_of(tmp_path, tiny_decoder(family), IDS, key=b"key")
    verdict = audit.check_one_step_distinct()
    embedding, *deeper = verdict.reasons
    rows = audit.decoder.embedding_matrix()
    assert ("layer00", brute_force.near(rows, 1e9)[0][0]) == (
        embedding.where,
        pytest.approx(embedding.figures["embedding_margin"], rel=1e-12),
    )
    for layer, reason in zip((1, 2, "norm"), deeper, strict=True):
        distance, left, right = brute_force.near(_first(audit, layer), 1e9)[0]
        assert distance == pytest.approx(reason.figures["first_position_margin"], rel=1e-4)
        assert audit.resolution(layer).at(0) == reason.figures["first_position_resolution"]
        names = (
            f"{audit.target.name_of_token(left)} and {audit.target.name_of_token(right)} put first"
        )
        (line,) = [line for line in reason.evidence if line.startswith("closest pair, ")]
        assert line.endswith(names)
    assert verdict.passed


def test_bos_goes_first_where_the_tokenizer_puts_it(tmp_path: Path) -> None:
    """Then both tables are compared, the second beside the floor of later positions."""
    decoder = tiny_decoder("llama", vocab=257, tokenizer=byte_tokenizer(bos=True))
    audit = audit_of(tmp_path, decoder, IDS)
    reason = _one(audit)
    nearest = brute_force.near(_first(audit, 1, (256,)), 1e9)[0][0]
    assert nearest == pytest.approx(reason.figures["after_special_margin"], rel=1e-4)
    assert audit.resolution(1).at(1) == reason.figures["after_special_resolution"]
    assert 2 == sum(f"{257 * 256 // 2:,} pairs of 257 tokens" in line for line in reason.evidence)
    without = _one(audit_of(tmp_path, decoder, IDS, special_tokens="no"))
    assert not any(AFTER in line for line in without.evidence)


def test_equal_embedding_rows_are_counted_by_classes(tmp_path: Path) -> None:
    """Three equal rows and two: 4 pairs, once at every layer, layer 0 too; the others are apart."""
    decoder = plant_equal_embeddings(tiny_decoder("gpt2"), kept=3, copied=9)
    plant_equal_embeddings(decoder, kept=3, copied=20)
    plant_equal_embeddings(decoder, kept=5, copied=6)
    audit = audit_of(tmp_path, decoder, IDS)
    verdict = audit.check_one_step_distinct()
    assert 4 == len(verdict.reasons)
    for reason in verdict.reasons:
        assert ("FAIL", 4) == (str(reason.status), reason.value)
        assert "4 collisions, all of equal embedding rows" == reason.headline
        said = (
            "5 tokens have the same embedding row as another (4 pairs, 2 classes, the largest of 3)"
        )
        assert 1 == sum(line.startswith(said) for line in reason.evidence)
        assert (4, "twins=4") == (reason.figures["twins"], reason.would_pass)
    embedding, first, *_ = verdict.reasons
    rows = audit.decoder.embedding_matrix()
    apart = next(near[0] for near in brute_force.near(rows, 1e9) if near[0] > 0)
    assert apart == pytest.approx(embedding.figures["embedding_margin"], rel=1e-12)
    assert any(line.startswith("closest pair that is not equal, ") for line in embedding.evidence)
    apart = next(near[0] for near in brute_force.near(_first(audit, 1), 1e9) if near[0] > 1e-6)
    assert apart == pytest.approx(first.figures["first_position_margin"], rel=1e-4)


def test_twins_are_named_once(tmp_path: Path) -> None:
    """As pairs of embedding rows where layer 0 is judged, else at the first layer."""
    decoder = plant_equal_embeddings(tiny_decoder("gpt2"), kept=5, copied=6)
    audit = audit_of(tmp_path, decoder, IDS)
    left, right = (audit.target.name_of_token(token) for token in (5, 6))
    embedding, *deeper = audit.check_one_step_distinct().reasons
    assert f"collision, distance 0: {left} and {right} as embedding rows" in embedding.evidence
    assert 3 == len(deeper)
    assert not any(left in line and right in line for one in deeper for line in one.evidence)
    first, second = audit.check_one_step_distinct([1, 2]).reasons
    assert f"{left} has the same embedding as {right}" in first.evidence
    assert not any(left in line and right in line for line in second.evidence)


def test_a_number_of_twins_may_be_accepted(tmp_path: Path) -> None:
    """Then they fail no layer, and are said all the same; one more fails."""
    decoder = plant_equal_embeddings(tiny_decoder("gpt2"), kept=5, copied=6)
    verdict = audit_of(tmp_path, decoder, IDS).check_one_step_distinct(twins=1)
    assert ["no collision"] * 4 == [one.headline for one in verdict.reasons]
    assert verdict.passed
    assert all(
        any(line.startswith("2 tokens have the same embedding row") for line in one.evidence)
        for one in verdict.reasons
    )
    plant_equal_embeddings(decoder, kept=7, copied=8)
    (tmp_path / "more").mkdir()
    more = audit_of(tmp_path / "more", decoder, IDS).check_one_step_distinct(twins=1)
    assert [2] * 4 == [one.value for one in more.reasons]


def test_collisions_of_a_layer_are_counted_beside_twins(additive: Additive) -> None:
    """Two rows that adding a position makes equal, and two that were equal before."""
    rows = torch.eye(12)
    rows[1], rows[3] = rows[0], rows[2]
    rows[3, 5] = 2.0**-40
    positions = torch.zeros(64, 12)
    positions[:, 5] = 1.0
    embedding, first = additive(rows, IDS, positions).check_one_step_distinct("0,1").reasons
    assert "1 collision, all of equal embedding rows" == embedding.headline
    assert "2 collisions, 1 of equal embedding rows" == first.headline


def test_a_vocabulary_of_equal_rows_is_all_collisions(additive: Additive) -> None:
    """No two tokens are apart: every pair counts, at every layer."""
    verdict = additive(torch.ones(12, 8), IDS).check_one_step_distinct("0,1")
    assert [66, 66] == [one.value for one in verdict.reasons]
    assert "FAIL" == str(verdict.status)


def test_pairs_within_the_first_positions_resolution_are_unresolved(
    additive: Additive, random_rows: Rows
) -> None:
    """Position 0 has a resolution of its own: here it is much the larger one."""
    positions = torch.zeros(64, 16)
    positions[0, :2] = 1000.0
    rows = random_rows(12)
    resolution = additive(rows, IDS, positions).resolution(1)
    assert resolution.at(0) > 50 * resolution.at(1)
    # One unit in the last place of a coordinate of 1,000, where a rounding of the state is larger.
    rows[11] = rows[10]
    rows[11, 0] += 2.0**-14
    reason = _one(additive(rows, IDS, positions))
    assert ("FAIL", "1 unresolved pair") == (str(reason.status), reason.headline)
    assert reason.would_pass.startswith("no eps")


def test_embedding_rows_have_no_resolution(additive: Additive, random_rows: Rows) -> None:
    """They are the checkpoint's numbers: distinct rows are distinct, however near."""
    rows = random_rows(12)
    rows[11] = rows[10]
    rows[11, 3] = torch.nextafter(rows[11, 3], torch.tensor(9.0))
    audit = additive(rows, IDS)
    reason = _one(audit, 0)
    assert ("PASS", 0.0) == (str(reason.status), reason.figures["embedding_resolution"])
    assert 0 < reason.figures["embedding_margin"] < audit.resolution(0).at(0)
    near = _one(audit, 0, eps=1e-3)
    assert ("1 near (eps 0.001)", "FAIL") == (near.headline, str(near.status))


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_brute_force(additive: Additive, seed: int) -> None:
    """All kinds together, at every eps."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 3, (24, 8), generator=generator).float()
    audit = additive(rows, IDS)
    for eps in (0.0, 1.0, 1.5, 2.0, 3.0):
        assert len(brute_force.near(rows, eps)) == _one(audit, eps=eps).value


def test_eps_below_the_resolution_is_said(additive: Additive, random_rows: Rows) -> None:
    """With the resolution of the position; eps is judged as asked."""
    audit = additive(random_rows(12), IDS)
    found = _one(audit, eps=1e-30)
    said = [line for line in found.evidence if "is below the resolution" in line]
    value = audit.resolution(1).at(0)
    assert [f"put first: eps 1e-30 is below the resolution: pairs near {value:.4g} decide"] == said
    assert "no collision" == found.headline


def test_a_relative_eps_is_of_the_states_compared(additive: Additive) -> None:
    """1e-2 rel at a mean norm of about 1000 is 10, whatever the prompts are."""
    rows = torch.zeros(8, 8)
    rows[:, 0] = 1000.0
    rows[:, 1] = torch.tensor([0.0, 9.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0])
    audit = additive(rows, IDS)
    scale = float(torch.linalg.vector_norm(rows.double(), dim=1).mean())
    near = _one(audit, eps="1e-2 rel")
    assert (f"1 near (eps {scale / 100:.4g})", "eps below 9") == (near.headline, near.would_pass)
    assert "no collision" == _one(audit, eps=8.9).headline


@pytest.mark.parametrize("layer", [0, 1])
def test_a_token_that_is_not_finite_fails(tmp_path: Path, layer: int) -> None:
    """One that no prompt has: NaN fails, with its own reason."""
    decoder = tiny_decoder("gpt2")
    decoder.parts.embeddings.weight[50] = torch.nan
    reason = _one(audit_of(tmp_path, decoder, IDS), layer)
    place = "put first" if layer else "as embedding rows"
    assert ("FAIL", f"1 of 64 tokens {place} is not finite") == (
        str(reason.status),
        reason.headline,
    )
    assert reason.value != reason.value


def test_a_layer_that_is_not_finite_fails_alone(tmp_path: Path) -> None:
    """The others are judged."""
    audit = audit_of(tmp_path, plant_nan(tiny_decoder("gpt2"), 2), IDS)
    statuses = [str(reason.status) for reason in audit.check_one_step_distinct().reasons]
    assert ["PASS", "PASS", "FAIL", "FAIL"] == statuses


def test_rows_beyond_the_tokenizer_are_left_out(tmp_path: Path) -> None:
    """Padding that is all alike is no collision, and is counted."""
    decoder = tiny_decoder("gpt2", vocab=270, tokenizer=byte_tokenizer())
    decoder.parts.embeddings.weight[256:] = 1.0
    verdict = audit_of(tmp_path, decoder, IDS).check_one_step_distinct()
    assert 4 == len(verdict.reasons)
    for reason in verdict.reasons:
        assert "PASS" == str(reason.status)
        assert "14 rows of the embedding left out: no token of the tokenizer's" in reason.evidence


def test_thresholds_may_differ_by_layer(additive: Additive, random_rows: Rows) -> None:
    """A mapping names the layers judged, layer 0 only where it does."""
    verdict = additive(random_rows(12), IDS).check_one_step_distinct(eps={"1": 0.0, "2": 100.0})
    assert [("layer01", 0), ("layer02", 66)] == [(one.where, one.value) for one in verdict.reasons]


def test_figures_are_in_the_json(additive: Additive, random_rows: Rows) -> None:
    """The one-step margin beside the resolution, as numbers."""
    audit = additive(random_rows(12), IDS)
    (told,) = plain(audit.check_one_step_distinct(1))["reasons"]
    assert {
        "first_position_margin": brute_force.near(random_rows(12), 1e9)[0][0],
        "first_position_closest_distinct": brute_force.near(random_rows(12), 1e9)[0][0],
        "first_position_resolution": audit.resolution(1).at(0),
        "twins": 0,
    } == told["figures"]


def test_tokens_are_named_by_keyed_hashes(tmp_path: Path) -> None:
    """Their text and ids only when asked for."""
    decoder = tiny_decoder("gpt2", vocab=256, tokenizer=byte_tokenizer())
    plant_equal_embeddings(decoder, kept=ord("x"), copied=ord("\n"))
    settings: dict[str, Any] = {"special_tokens": "no"}
    plain = "\n".join(_one(audit_of(tmp_path, decoder, IDS, **settings)).evidence)
    assert "'x'" not in plain
    shown = "\n".join(_one(audit_of(tmp_path, decoder, IDS, show_prompts=True)).evidence)
    assert "'x'" in shown


def test_progress_is_told_table_by_table(tmp_path: Path) -> None:
    """One pass serves every layer."""
    witness = Witness()
    decoder = tiny_decoder("gpt2", vocab=257, tokenizer=byte_tokenizer(bos=True))
    audit_of(tmp_path, decoder, IDS, watcher=witness).check_one_step_distinct()
    (work,) = [work for work in witness.works if work[0] == "one-step tables"]
    assert (3, [1, 2, 3]) == work[1:]


def test_a_second_audit_loads_no_weights(additive: Additive, random_rows: Rows) -> None:
    """Of another prompt set too, as far as the tables are concerned."""
    rows = random_rows(12)
    first = additive(rows, IDS, key=b"one")
    expected = [first.check_one_step_distinct(eps=eps).reasons for eps in (0.0, 0.2)]
    again = Audit(first.config, key=b"one")
    assert expected == [again.check_one_step_distinct(eps=eps).reasons for eps in (0.0, 0.2)]
    assert not again.target.loaded
    other = additive(rows, [[3, 4], [5, 6]])
    tables = other.measurements.one_step.of((), [1])[1]
    assert not other.target.loaded
    np.testing.assert_allclose(tables.rivals, brute_force.nearest(rows)[0], rtol=1e-12)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_near_tokens_in_bfloat16_are_decided_as_by_brute_force(tmp_path: Path, family: str) -> None:
    """Every pair of the vocabulary evaluated, whatever its distance: as many are unresolved."""
    decoder = tiny_decoder(family, dtype=torch.bfloat16)
    rows = decoder.parts.embeddings.weight
    for token, steps in zip(range(10, 22, 2), (1, 2, 4, 16, 64, 256), strict=True):
        rows[token] = rows[token + 1]
        rows[token, 0] *= 1 + steps / 128
    audit = audit_of(tmp_path, decoder, IDS, dtype="bfloat16")
    reason = _one(audit, 2)
    states = evaluate_last(audit.decoder, [[token] for token in range(64)], [2])[2].double()
    sigma = torch.from_numpy(audit.resolution(2).of(0).scale.values)
    near = torch.ones(64, 64, dtype=torch.bool)
    for wide in (states, states / sigma):
        apart = (wide[:, None, :, None] - wide[None, :, None, :]).norm(dim=4)
        rounding = torch.finfo(torch.bfloat16).eps / 2 * wide.norm(dim=2).amax(dim=1)
        itself = torch.maximum(apart.amax(dim=(2, 3)).diagonal(), rounding)
        near &= apart.amin(dim=(2, 3)) <= torch.maximum(itself[:, None], itself[None, :])
    assert 0 < int(near.triu(1).sum()) < 20
    assert int(near.triu(1).sum()) == reason.value
