"""What a failure says of whose doing its collisions are (SPEC section 3)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, GateFailure, Reason
from pytest_injectivity.audit.judging.diagnosis import Diagnosed
from pytest_injectivity.states import diagnosis
from pytest_injectivity.states.diagnosis import Diagnosis
from pytest_injectivity.testing import SLIDING_WINDOW, plant_equal_embeddings, tiny_decoder
from tests.audits import audit_of

pytestmark = pytest.mark.usefixtures("empty_store")

Additive = Callable[..., Audit]
Rows = Callable[..., Tensor]

# More than the two layers' windows reach: [3, ...] and [7, ...] are equal to the last token.
BEYOND = list(range(10, 10 + 2 * SLIDING_WINDOW))


def _reasons(audit: Audit, layer: Any = "all", **asked: Any) -> tuple[Reason, ...]:
    return audit.check_no_collisions(layer, **asked).reasons


@pytest.fixture
def windowed(tmp_path: Path) -> Audit:
    """A sliding-window model with a structural and an accidental pair."""
    decoder = plant_equal_embeddings(tiny_decoder("mistral"), kept=3, copied=7)
    ids = [[3, *BEYOND], [8, *BEYOND], [1, 2, 3], [1, 2, 7], [4], [9, 9]]
    return audit_of(tmp_path, decoder, ids)


def test_structural_is_told_from_accidental(windowed: Audit) -> None:
    """A window too short and a duplicated embedding row: each pair under its own word."""
    assert 3 == len(_reasons(windowed))
    for reason in _reasons(windowed):
        assert "2 collisions (1 structural, 1 accidental)" == reason.headline
        (structural,) = (at for at, line in enumerate(reason.evidence) if "structural" in line)
        (accidental,) = (at for at, line in enumerate(reason.evidence) if "  accidental" in line)
        assert windowed.name_of(0) in reason.evidence[structural - 1]
        assert windowed.name_of(2) in reason.evidence[accidental - 1]


def test_the_first_line_keeps_its_80_columns(windowed: Audit) -> None:
    """Nothing of the counts is cut."""
    with pytest.raises(GateFailure) as failure:
        windowed.assert_no_collisions("all")
    first = str(failure.value).partition("\n")[0]
    assert len(first) <= 80
    assert "layer01: 2 collisions (1 structural, 1 accidental) (+2 more)" in first


def test_the_draws_are_shared(windowed: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five draws for three layers and two pairs, and none for a layer asked again."""
    draws: list[int] = []
    run = diagnosis.redraw
    monkeypatch.setattr(diagnosis, "redraw", lambda *args: (draws.append(1), run(*args)))
    for layer in (1, "all", "norm", 2):
        _reasons(windowed, layer)
    assert diagnosis.DRAWS == len(draws)


def test_what_is_not_analytic_is_told_as_it_was_seen(tmp_path: Path) -> None:
    """One draw of a ReLU network proves nothing of almost all weights."""
    decoder = plant_equal_embeddings(tiny_decoder("opt"), kept=3, copied=7)
    ids = [[1, 3], [1, 7], [2, 5], [6, 5]]
    audit = audit_of(tmp_path, decoder, ids)
    (first,) = _reasons(audit, 1)
    assert "1 collision (separated)" == first.headline
    (embedded,) = _reasons(audit, 0)
    assert "2 collisions (1 not separated, 1 separated)" == embedded.headline
    for line in (*first.evidence, *embedded.evidence):
        assert not {"structural", "accidental", "certified"} & set(line.replace(",", " ").split())


def test_an_unlisted_family_is_told_as_it_was_seen(tmp_path: Path) -> None:
    """Its activation is analytic; whether it routes is not known."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=7)
    audit = audit_of(tmp_path, decoder, [[1, 3], [1, 7]])
    object.__setattr__(audit.target.assumptions, "plain", False)
    assert "1 collision (separated)" == _reasons(audit, 1)[0].headline


def test_an_unresolved_pair_says_its_float64_distance(
    additive: Additive, random_rows: Rows
) -> None:
    """Red at this precision; in float64 the same weights tell the pair apart."""
    ids = [[0, at] for at in range(6)]
    rows = random_rows(6)
    rows[1, 3] = 0.0
    rows[4] = rows[1]
    rows[4, 3] = 0.1 * additive(rows, ids).resolution(1).value
    moved = float((rows[4].double() - rows[1].double()).norm())
    (reason,) = _reasons(additive(rows, ids), 1)
    assert "1 unresolved pair (accidental)" == reason.headline
    expected = f"under its own weights resolved in float64: distance {moved:.4g}"
    assert any(line.endswith(expected) for line in reason.evidence)


def test_pairs_past_the_tenth_are_counted(additive: Additive, random_rows: Rows) -> None:
    """The verdict says how many of how many were diagnosed."""
    ids = [[1 + at, 0] for at in range(6)]
    (reason,) = _reasons(additive(random_rows(8), ids), 1)
    assert "15 collisions (first 10 accidental)" == reason.headline
    assert any(line.startswith("10 of 15 pairs diagnosed") for line in reason.evidence)


def test_no_memory_for_float64_is_said(
    additive: Additive, random_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collision stays a failure, its cause is left open, and nothing is silent."""
    rows = random_rows(4)
    rows[1] = rows[0]
    monkeypatch.setattr(
        "pytest_injectivity.audit.measurements.float64_copies.free_bytes", lambda _decoder: 0
    )
    (reason,) = _reasons(additive(rows, [[0, at] for at in range(4)]), 1)
    assert ("FAIL", "1 collision") == (str(reason.status), reason.headline)
    assert any(line.startswith("not diagnosed: a float64 copy") for line in reason.evidence)


def test_no_collision_is_no_draw(additive: Additive, random_rows: Rows) -> None:
    """Near pairs are not diagnosed, nor are passing layers."""
    audit = additive(random_rows(4), [[0, at] for at in range(4)])
    (reason,) = _reasons(audit, 1, eps=1e9)
    assert "6 near (eps 1e+09)" == reason.headline
    assert not audit.measurements.diagnoses({})
    assert not any("diagnosed" in line for line in reason.evidence)


def test_of_rounded_states_the_states_before_tell(additive: Additive) -> None:
    """No draw of weights is needed: they were apart before rounding, or equal already."""
    rows = torch.zeros(4, 8)
    rows[:, 0] = torch.tensor([7.0, 6.9, 3.0, 3.0])
    audit = additive(rows, [[0, at] for at in range(4)])
    (reason,) = _reasons(audit, 1, bits=4)
    assert "2 collisions (1 by rounding, 1 equal before it)" == reason.headline
    assert not audit.measurements.diagnoses({})
    said = [line.rpartition("before rounding ")[2] for line in reason.evidence[:2]]
    assert ["0.1", "0"] == said


@pytest.mark.parametrize(
    ("last", "words"),
    [(6.9, "1 collision (by rounding)"), (7.0, "1 collision (equal before rounding)")],
)
def test_rounding_alone_or_not_at_all(additive: Additive, last: float, words: str) -> None:
    """One cause for all pairs is one word."""
    rows = torch.zeros(3, 8)
    rows[:, 0] = torch.tensor([7.0, 1.0, last])
    (reason,) = _reasons(additive(rows, [[0, at] for at in range(3)]), 1, bits=4)
    assert words == reason.headline


def test_each_kind_has_its_words() -> None:
    """What was seen and what it proves; a pair that was not diagnosed says nothing."""
    of = {
        (0, 1): Diagnosis(0.0, 1.0, (0.0, 0.25)),
        (0, 2): Diagnosis(0.0, 1.0, (0.0,) * 5),
        (0, 3): Diagnosis(0.5, 1.0, (0.0, 1e-10, 0.0, 0.0, 0.0)),
    }
    proven, seen = Diagnosed(of, analytic=True), Diagnosed(of, analytic=False)
    words = ["accidental", "structural", "undecided", "undiagnosed"]
    pairs = [*of, (1, 2)]
    assert words == [proven.kind(pair) for pair in pairs]
    assert " (1 structural, 1 undecided, 1 accidental)" == proven.counted(list(of), 3)
    mixed = " (first 3: 1 structural, 1 undecided, 1 accidental)"
    assert mixed == proven.counted(pairs, 8)
    assert " (2 not separated, 1 separated)" == seen.counted(list(of), 3)
    assert "" == proven.counted([(1, 2)], 1) == proven.line((1, 2))
    assert "draw 2 of the weights moves them 0.25 of the norm apart" in proven.line((0, 1))
    assert "at most 1e-10 of the norm apart under 5 draws" in proven.line((0, 3))
    assert proven.line((0, 3)).endswith("resolved in float64: distance 0.5")
    assert proven.line((0, 3)).startswith("  undecided: at most ")
    assert "certified" in proven.summary(3)
    assert "certified" not in seen.summary(3)


def test_a_pair_equal_in_float64_says_so() -> None:
    """Such a pair has no distance to show."""
    proven = Diagnosed({(0, 1): Diagnosis(0.0, 1.0, (0.0, 0.25))}, analytic=True)
    assert proven.line((0, 1)).endswith("; under its own weights equal in float64 too")
