import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity import Audit, OptionError, Reason, Status
from pytest_injectivity.audit.judging.common import resolution_line, with_confidence, worst_note
from pytest_injectivity.states.resolution import LayerResolution, Resolution
from pytest_injectivity.states.scaled import Scale

P = st.floats(0.0, 1.0)


def _reason(layer: int) -> Reason:
    return Reason(f"layer{layer:02d}", Status.PASS, "margin", 1.0, 0.5, ">=", evidence=("pair",))


def _brute_force(p_values: list[float], alpha: float) -> list[bool]:
    """Holm's step-down, as in its definition: each hypothesis against its own level, in order."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    rejected = [False] * len(p_values)
    for step, at in enumerate(order):
        if p_values[at] > alpha / (len(p_values) - step):
            break
        rejected[at] = True
    return rejected


@given(st.lists(st.tuples(P, P), min_size=1, max_size=8), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_status_is_what_the_sample_proves(
    p_values: list[tuple[float, float]], confidence: float
) -> None:
    """PASS where passing is proved, else FAIL where failing is, else INSUFFICIENT; all under Holm."""
    reasons = [_reason(at) for at in range(len(p_values))]
    good = _brute_force([p for p, _ in p_values], 1.0 - confidence)
    bad = _brute_force([p for _, p in p_values], 1.0 - confidence)
    expected = [
        Status.PASS if passes else Status.FAIL if fails else Status.INSUFFICIENT
        for passes, fails in zip(good, bad, strict=True)
    ]
    assert expected == [one.status for one in with_confidence(reasons, p_values, confidence)]


@pytest.mark.parametrize(("ordinary", "said"), [(9.0, ""), (0.5, ", 0.5 without attention sinks")])
def test_a_resolution_that_a_sink_makes_is_said_to_be_one(ordinary: float, said: str) -> None:
    """Beside it stands that of the other states, which pairs of theirs are held against."""
    later = Resolution(
        *(9.0, "alone / padded", ordinary, 1.0, Scale(np.ones(2))), 1.0, 1.0, 0.1, 0.1, 1, math.nan
    )
    line = resolution_line(LayerResolution(later, lambda: later, 3))
    assert f"resolution 9 over 3 prompts (alone / padded){said}; error not measured" == line


def test_what_is_not_decided_says_so() -> None:
    """With the level, exactly; what is decided keeps its evidence as it is."""
    (open_one,) = with_confidence([_reason(1)], [(0.5, 0.5)], 0.995)
    assert ("pair", "the sample does not decide at 99.5%: more prompts would") == open_one.evidence
    (decided,) = with_confidence([_reason(1)], [(0.0, 1.0)], 0.95)
    assert ("pair",) == decided.evidence


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_a_confidence_lies_between_0_and_1(confidence: float) -> None:
    """Percent are refused."""
    with pytest.raises(OptionError, match="give a number between 0 and 1"):
        with_confidence([_reason(1)], [(0.5, 0.5)], confidence)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([1.0, 2.0, 4.0, 3.0], ["first bad layer: layer01; worst: layer02 (margin 4)"]),
        ([1.0, math.nan, 4.0], ["first bad layer: layer01; worst: layer01 (margin nan)"]),
        ([1.0], []),
    ],
)
def test_the_note_names_the_first_bad_layer_and_the_worst(
    values: list[float], note: list[str]
) -> None:
    """NaN is worst of all; a layer that passes is neither."""
    passed, *bad = (replace(_reason(at), value=value) for at, value in enumerate(values))
    failed = [replace(one, status=Status.FAIL) for one in bad]
    assert note == worst_note([passed, *failed], lambda reason: reason.value)


def test_a_resolution_that_is_not_finite_says_where_it_was_lost(
    additive: Callable[..., Audit], random_rows: Callable[..., Tensor]
) -> None:
    """At layer 0 every row is finite: the NaN stands before a prompt's last token."""
    rows = random_rows(6)
    rows[5] = math.nan
    (reason,) = additive(rows, [[5, 1], [0, 2], [0, 3]]).check_margin_above(0, margin=0.1).reasons
    place = "a sequence of the resolution's sample, before its last token"
    assert "the resolution is not finite" == reason.headline
    weight = "a NaN or an infinity in the weights: transformer.wte.weight"
    assert (f"a NaN or an infinity in the states of {place}", weight) == reason.evidence
