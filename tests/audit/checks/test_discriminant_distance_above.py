"""How far weights are from a collision: what is judged, in which unit, and what is said."""

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, OptionError
from pytest_injectivity.testing import round_weights, tiny_decoder
from tests.audits import audit_of

IDS = [[7, 1, 2], [7, 1, 3], [5, 6, 9]]
OVER: dict[str, Any] = {"over": "embedding"}


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A tiny model with a reachable collision at its last layer."""
    decoder = tiny_decoder("llama", hidden=8, layers=1)
    return audit_of(tmp_path_factory.mktemp("audit"), decoder, IDS)


def test_a_distance_below_the_bound_fails(audit: Audit) -> None:
    """The pair is named, and not shown; what would pass, passes."""
    verdict = audit.check_discriminant_distance_above(1, 0.9, **OVER)
    (reason,) = verdict.reasons
    assert "FAIL" == verdict.status
    assert ": weight change 0.0" in verdict.first_line
    assert re.search(r"prompt \d \([0-9a-f]+, 3 tokens\) and prompt \d \(", verdict.text)
    assert "[7, 1, 2]" not in verdict.text
    assert f"smallest at layer01: {reason.value:.4g} of the weights' norm" in verdict.text
    passing = float(reason.would_pass.removeprefix("distance="))
    assert audit.check_discriminant_distance_above(1, passing, **OVER)
    assert 0.99 * reason.value <= passing <= reason.value


def test_a_distance_may_be_in_roundings(audit: Audit) -> None:
    """The change found is the same; a rounding to fewer bits is larger."""
    found = [
        audit.check_discriminant_distance_above(1, 1e-9, bits=bits, **OVER).reasons[0]
        for bits in (None, 4, 3)
    ]
    assert 1 == len({one.figures["change"] for one in found})
    plain, four, three = found
    assert plain.figures["change"] == plain.value
    assert plain.figures["change"] / plain.figures["projected_4_bits"] == pytest.approx(four.value)
    assert three.figures["roundings_3_bits"] == three.value < four.value
    assert "3-bit roundings" == three.quantity


@pytest.mark.parametrize(("own", "units"), [(2, ""), (4, r", \S+ roundings to 8 bits")])
def test_a_rounding_that_moves_nothing_is_no_unit(tmp_path: Path, own: int, units: str) -> None:
    """As of weights that are rounded to it, or to fewer bits: any bound would be met, and none is."""
    decoder = round_weights(tiny_decoder("llama", hidden=8, layers=1), own)
    audit = audit_of(tmp_path, decoder, IDS)
    verdict = audit.check_discriminant_distance_above(1, 1e9, over="block", bits=own)
    assert ("INSUFFICIENT", "") == (verdict.status, verdict.reasons[0].would_pass)
    assert f"a rounding to {own} bits moves nothing of these weights" in verdict.text
    assert re.search(
        rf"smallest at layer01: \S+ of the weights' norm{units}$", verdict.text, re.MULTILINE
    )


@pytest.mark.slow
def test_of_several_pairs_the_smallest_distance_is_judged(audit: Audit) -> None:
    """It is at most that of the closest pair alone."""
    one, several = (
        audit.check_discriminant_distance_above(1, 1e-9, pairs=pairs, **OVER).reasons[0]
        for pairs in (1, 2)
    )
    assert (1, 2) == (one.figures["pairs"], several.figures["pairs"])
    assert several.value <= one.value
    assert "the smallest of 2 pairs of nearest prompts" in several.evidence


@pytest.mark.slow
def test_a_collision_that_is_not_found_is_no_distance(audit: Audit) -> None:
    """Of the norm the last block may change, and the search ends before the two collide."""
    verdict = audit.check_discriminant_distance_above([1, "norm"], 1e-9, over="block")
    assert ["PASS", "INSUFFICIENT"] == [one.status for one in verdict.reasons]
    lines = [one.evidence[0] for one in verdict.reasons]
    assert "collide after a change of layer01 by" in lines[0]
    assert "no collision found" in lines[1]


def test_prompts_that_collide_as_they_are_fail(tmp_path: Path) -> None:
    """At layer 0 all that end in one token do."""
    audit = audit_of(tmp_path, tiny_decoder("llama", hidden=8, layers=1), [[1, 2], [3, 2]])
    verdict = audit.check_discriminant_distance_above(0, 1e-9)
    assert "the closest pair collides as it is" == verdict.reasons[0].headline
    assert (0.0, "FAIL") == (verdict.reasons[0].value, verdict.status)


def test_without_a_float64_copy_nothing_is_measured(tmp_path: Path) -> None:
    """The verdict says why there is none."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS, activation_bits=8)
    verdict = audit.check_discriminant_distance_above(1, 1e-9)
    assert "INSUFFICIENT" == verdict.status
    assert "not measured: the model has no float64 copy" in verdict.text
    assert "would be another function" in verdict.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"distance": 0.0}, "distance=0.0 passes whatever is measured"),
        ({"distance": -1}, "distance=-1 is not a bound"),
        ({"pairs": 0}, "pairs=0: give an integer of at least 1"),
        ({"bits": 1}, "bits=1: give an integer of at least 2"),
        ({"over": "head"}, "over='head': give all, embedding, or the number of a block"),
    ],
)
def test_what_cannot_be_judged_is_refused(audit: Audit, given: dict[str, Any], words: str) -> None:
    """By the value that is wrong."""
    with pytest.raises(OptionError, match=words):
        audit.check_discriminant_distance_above(1, **{"distance": 1e-9, **OVER, **given})
