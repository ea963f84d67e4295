import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, Reason
from pytest_injectivity.core.numbers import show_down
from pytest_injectivity.testing import additive_decoder, plant_equal_embeddings, tiny_decoder
from tests import brute_force
from tests.audits import audit_of

Additive = Callable[..., Audit]
Rows = Callable[..., Tensor]


def _one(audit: Audit, **asked: object) -> Reason:
    (reason,) = audit.check_no_collisions(1, **asked).reasons  # type: ignore[arg-type]
    return reason


def _single(count: int) -> list[list[int]]:
    """Prompts of two tokens that end in each token in turn: row i of H_l is row i of the table."""
    return [[0, token] for token in range(count)]


def _moved(rows: Tensor, token: int, distance: float, onto: int) -> Tensor:
    """Row ``token`` at this distance from row ``onto``, along one coordinate, where both are small."""
    rows[onto, 3] = 0.0
    rows[token] = rows[onto]
    rows[token, 3] = distance
    return rows


def test_rows_that_are_apart_pass(additive: Additive, random_rows: Rows) -> None:
    """No pair, no eps that would have passed, and the bounds on random pairs."""
    reason = _one(additive(random_rows(8), _single(8)))
    assert ("PASS", 0, "no collision", "") == (
        str(reason.status),
        reason.value,
        reason.headline,
        reason.would_pass,
    )
    assert any("for independent draws, 95 %" in line for line in reason.evidence)


def test_equal_rows_are_collisions(additive: Additive, random_rows: Rows) -> None:
    """Three equal rows are three pairs; no eps would have passed."""
    rows = random_rows(8)
    rows[5] = rows[2]
    rows[7] = rows[2]
    reason = _one(additive(rows, _single(8)))
    assert ("FAIL", 3, "3 collisions (accidental)") == (
        str(reason.status),
        reason.value,
        reason.headline,
    )
    assert reason.would_pass.startswith("no eps")
    assert 3 == sum(line.startswith("collision, distance 0: ") for line in reason.evidence)


def test_minus_zero_is_zero(additive: Additive, random_rows: Rows) -> None:
    """Rows that differ in the sign of a zero are equal in every coordinate."""
    rows = random_rows(4)
    rows[1] = rows[0]
    rows[0, 3], rows[1, 3] = 0.0, -0.0
    assert "1 collision (accidental)" == _one(additive(rows, _single(4))).headline


@pytest.mark.parametrize("factor", [0.05, 0.2])
def test_pairs_within_the_resolution_are_unresolved(
    additive: Additive, random_rows: Rows, factor: float
) -> None:
    """Not equal and not to be told apart: red under their own name, whatever eps is."""
    rows = _moved(random_rows(6), 4, 0.0, 1)
    rounding = 2.0**-24 * float(rows[1].double().norm())
    reason = _one(additive(_moved(rows, 4, factor * rounding, 1), _single(6)))
    assert ("FAIL", "1 unresolved pair (accidental)") == (str(reason.status), reason.headline)
    assert reason.would_pass.startswith("no eps")
    assert any(line.startswith("unresolved, distance ") for line in reason.evidence)
    assert any("in 8 ways of evaluation, each up to " in line for line in reason.evidence)


@pytest.mark.parametrize(("factor", "evaluated"), [(0.5, True), (3.0, False)])
def test_pairs_at_half_and_at_three_times_the_resolution_are_resolved(
    additive: Additive,
    random_rows: Rows,
    factor: float,
    evaluated: bool,  # noqa: FBT001 - a parameter
) -> None:
    """The nearer one by evaluation in the scaled distance, as the verdict says; near within eps."""
    rows = random_rows(6)
    resolution = additive(rows, _single(6)).resolution(1).value
    audit = additive(_moved(rows, 4, factor * resolution, 1), _single(6))
    found = _one(audit)
    assert ("PASS", "no collision") == (str(found.status), found.headline)
    shown = "resolved pairs near the resolution: 1, 1 by the scaled distance alone"
    assert evaluated == (shown in found.evidence)
    assert evaluated == any("from itself; in float64 " in line for line in found.evidence)
    near = _one(audit, eps=4 * resolution)
    assert near.headline.startswith("1 near (eps ")
    assert near.value == 1


def test_eps_is_judged_as_asked(additive: Additive, random_rows: Rows) -> None:
    """An eps below the resolution is not raised to it, and the verdict says that it is below."""
    audit = additive(random_rows(6), _single(6))
    eps = audit.resolution(1).value / 10
    found = _one(audit, eps=eps)
    assert found.status == "PASS"
    assert any("is below the resolution" in line for line in found.evidence)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_planted_collisions_are_found_in_half_precision(tmp_path: Path, dtype: str) -> None:
    """Prompts that differ in two tokens of equal embedding, and no others."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 7)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(8, 64, (30, 12), generator=generator).tolist()
    ids[4] = [*ids[3][:5], 7, *ids[3][6:]]
    ids[3][5] = 3
    audit = audit_of(tmp_path, decoder, ids, dtype=dtype)
    verdict = audit.check_no_collisions("all")
    assert ["1 collision (accidental)"] * 3 == [one.headline for one in verdict.reasons]


def test_a_layer_without_resolution_decides_nothing(tmp_path: Path) -> None:
    """Rows nearer to each other than one rounding: INSUFFICIENT, and the ways are named."""
    rows = torch.full((8, 8), 1000.0)
    rows[:, 0] += torch.arange(8) * 2.0**-14
    decoder = additive_decoder(rows, torch.zeros(64, 8))
    audit = audit_of(tmp_path, decoder, _single(8))
    found = _one(audit)
    assert "INSUFFICIENT" == str(found.status)
    assert "the resolution does not tell states apart: one rounding of a state disagree" in (
        found.headline
    )
    assert not audit.check_no_collisions(1).passed


def test_eps_itself_is_near(additive: Additive) -> None:
    """Distances at most eps count: eps itself does, the next number below it does not."""
    rows = torch.zeros(3, 8)
    rows[1, 0], rows[2, 1] = 0.5, 100.0
    audit = additive(rows, _single(3))
    assert _one(audit, eps=0.5).headline == "1 near (eps 0.5)"
    assert _one(audit, eps=0.49999999999999994).headline == "no collision"


def test_the_planted_near_collision_of_the_issue(additive: Additive) -> None:
    """1e-6 apart in a coordinate of magnitude at most 1, rows of norm 1000: found at 1e-5."""
    rows = torch.zeros(3, 8, dtype=torch.float64)
    rows[:, 0] = 1000.0
    rows[0, 1], rows[1, 1], rows[2, 1] = 0.25, 0.250001, 0.75
    audit = additive(rows, _single(3), dtype="float64")
    assert _one(audit, eps=1e-5).headline == "1 near (eps 1e-05)"
    assert _one(audit, eps=1e-7).headline == "no collision"


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_brute_force(additive: Additive, seed: int) -> None:
    """All kinds together, at every eps: the counts of a float64 loop over all pairs."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 3, (24, 8), generator=generator).float()
    audit = additive(rows, _single(24))
    states = audit.states(1)
    for eps in (0.0, 1.0, 1.5, 2.0, 3.0):
        near, equal = len(brute_force.near(states, eps)), len(brute_force.colliding(states))
        reason = _one(audit, eps=eps)
        assert near == reason.value
        words = re.sub(r" \((first \d+ )?accidental\)", "", reason.headline).split(", ")
        assert (f"{equal} collision{'s' * (equal > 1)}" in words) == (equal > 0)
        assert (f"{near - equal} near (eps {eps:g})" in words) == (near > equal)


def test_many_equal_rows_are_all_counted(additive: Additive, random_rows: Rows) -> None:
    """60 equal rows are 1,770 pairs."""
    ids = [[1 + at // 8, 1 + at % 8, 0] for at in range(60)]
    reason = _one(additive(random_rows(10), ids))
    headline = "1770 collisions (first 10 accidental)"
    assert (headline, 1770) == (reason.headline, reason.value)


def test_the_closest_pairs_are_named(additive: Additive, random_rows: Rows) -> None:
    """The three closest, closest first, by the prompts' own names."""
    rows = random_rows(9)
    for token, distance, onto in ((1, 0.3, 0), (3, 0.1, 2), (5, 0.2, 4), (7, 0.4, 6)):
        rows = _moved(rows, token, distance, onto)
    audit = additive(rows, _single(9))
    lines = [line for line in _one(audit, eps=0.45).evidence if line.startswith("near, ")]
    pairs = [(2, 3), (4, 5), (0, 1)]
    assert [(audit.name_of(i), audit.name_of(j)) for i, j in pairs] == [
        tuple(line.partition(": ")[2].split(" and ")) for line in lines
    ]


def test_the_closest_distance_is_what_would_pass(additive: Additive, random_rows: Rows) -> None:
    """Rounded down, so that it is one's to use."""
    audit = additive(random_rows(9), _single(9))
    closest = brute_force.near(audit.states(1), 1e9)[0][0]
    said = _one(audit, eps=1e9).would_pass
    assert f"eps below {show_down(closest)}" == said


def test_a_relative_eps_grows_with_the_norm(additive: Additive) -> None:
    """1e-2 rel of rows of norm 1000 is 10."""
    rows = torch.zeros(4, 8)
    rows[:, 0] = 1000.0
    rows[:, 1] = torch.tensor([0.0, 9.0, 20.0, 40.0])
    audit = additive(rows, _single(4))
    assert _one(audit, eps="1e-2 rel").headline == "1 near (eps 10)"
    assert _one(audit, eps=1e-2).headline == "no collision"


def test_layer_0_is_diagnosed_as_any_other(additive: Additive, random_rows: Rows) -> None:
    """Prompts with one last token collide there by construction; equal rows are the checkpoint's."""
    rows = random_rows(5)
    rows[4] = rows[3]
    (reason,) = additive(rows, [[0, 3], [1, 3], [0, 4]]).check_no_collisions(0).reasons
    assert "3 collisions (1 structural, 2 accidental)" == reason.headline
    assert any("layer 0 sees the last token" in line for line in reason.evidence)


def test_no_bound_is_stated_for_a_challenge_set(additive: Additive, random_rows: Rows) -> None:
    """Its prompts are no independent draws (SPEC section 2, "Intervals")."""
    audit = additive(random_rows(12), [[0, *range(1, 1 + at)] for at in range(2, 9)])
    challenge = audit.prompts.take(range(5), "builtin:challenge")
    object.__setattr__(challenge, "kinds", ("base",) * 5)
    audit.target.use_prompts(challenge)
    assert not any("independent draws" in line for line in _one(audit).evidence)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounded_states_collide_where_their_codes_are_equal(
    additive: Additive, random_rows: Rows, bits: int
) -> None:
    """``step = max|H| / (2^(b-1) - 1)``, ``round(x / step)``: counted on the codes (SPEC section 2)."""
    rows = random_rows(40, hidden=8, seed=bits) * 0.3
    rows[39] *= 30
    audit = additive(rows, _single(40))
    states = audit.states(1).double()
    step = float(states.abs().max()) / (2 ** (bits - 1) - 1)
    codes = (states / step).round()
    equal = len(brute_force.colliding(codes))
    reason = _one(audit, bits=bits)
    assert equal == reason.value
    assert ("PASS" if equal == 0 else "FAIL") == str(reason.status)
    assert any(f"rounded to {bits} bits" in line for line in reason.evidence)


def test_rounded_states_may_be_near(additive: Additive) -> None:
    """With eps, pairs of different codes within eps count as near."""
    rows = torch.zeros(3, 8)
    rows[:, 0] = torch.tensor([7.0, 6.0, 0.0])
    audit = additive(rows, _single(3))
    assert _one(audit, bits=4, eps=1.0).headline == "1 near (eps 1)"
    assert _one(audit, bits=4, eps=0.5).headline == "no collision"
    assert "eps below 1" == _one(audit, bits=4, eps=1.0).would_pass
