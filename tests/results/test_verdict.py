"""Verdicts: their first line, what they never print, and what they are as data."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.numbers import show, show_apart
from pytest_injectivity.core.strict_json import dumps, loads
from pytest_injectivity.errors import GateFailure
from pytest_injectivity.results.verdict import Reason, Relation, Status, Verdict, judge

words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100)
numbers = st.floats() | st.integers(-(10**9), 10**9).map(float)
relations = st.sampled_from([">=", "<="])
statuses = st.sampled_from(list(Status))
intervals = st.none() | st.builds(Interval, numbers, numbers, st.floats(0.5, 0.999))
reasons = st.builds(
    Reason,
    where=st.sampled_from(["layer00", "layer04", "layer128", "norm"]),
    status=statuses,
    quantity=words,
    value=numbers,
    bound=numbers,
    relation=relations,
    headline=words | st.just(""),
    evidence=st.lists(words, max_size=3).map(tuple),
    interval=intervals,
    would_pass=words,
)
verdicts = st.builds(
    Verdict,
    check=words,
    reasons=st.lists(reasons, max_size=30).map(tuple),
    subject=words,
    reproduce=words,
    notes=st.lists(words, max_size=3).map(tuple),
)


@st.composite
def close_numbers(draw: st.DrawFn) -> tuple[float, float]:
    """Two numbers that differ, often in their last places only."""
    bound = draw(st.floats(allow_nan=False, allow_infinity=False))
    value = draw(st.floats(allow_nan=False))
    for _ in range(draw(st.integers(0, 3))):
        value = math.nextafter(bound, value)
    assume(value != bound)
    return value, bound


def reason(
    value: float = 1.0,
    bound: float = 2.0,
    relation: Relation = ">=",
    *,
    layer: str = "layer04",
    quantity: str = "separation margin",
    status: Status | None = None,
    headline: str = "",
) -> Reason:
    """A reason judged by its numbers unless a status is given."""
    judged = judge(value, relation, bound) if status is None else status
    return Reason(layer, judged, quantity, value, bound, relation, headline)


def verdict(*given_reasons: Reason, check: str = "margin_above") -> Verdict:
    """A verdict over the reasons given."""
    return Verdict(check, given_reasons, "gpt2, 1000 prompts", "pytest tests/test_gate.py")


@given(verdict=verdicts)
def test_the_first_line_has_at_most_80_columns(verdict: Verdict) -> None:
    """Whatever the names, the numbers and the number of layers are."""
    assert len(verdict.first_line) <= 80
    assert verdict.first_line == verdict.text.split("\n")[0]
    assert verdict.first_line.startswith(str(verdict.status))


@given(
    pair=close_numbers(), relation=relations, quantity=words, check=words, more=st.integers(0, 20)
)
def test_a_failing_line_never_prints_its_numbers_equal(
    pair: tuple[float, float], relation: Relation, quantity: str, check: str, more: int
) -> None:
    """Both stand there in full, different, however close they are and however long the words."""
    value, bound = pair
    assume(judge(value, relation, bound) is Status.FAIL)
    failing = reason(value, bound, relation, quantity=quantity)
    line = verdict(*[failing] * (more + 1), check=check).first_line
    assert len(line) <= 80
    line = line.removesuffix(f" (+{more} more)").removesuffix(f" (+{more})")
    left, right = line.split(f", wants {relation} ")
    printed = float(left.split(" ")[-1]), float(right)
    assert printed[0] != printed[1]
    # And they do not look like a pass.
    assert judge(printed[0], relation, printed[1]) is Status.FAIL


@given(pair=close_numbers())
def test_different_numbers_are_shown_apart(pair: tuple[float, float]) -> None:
    """With as many digits as it takes, and in the right order."""
    value, bound = show_apart(*pair)
    assert value != bound
    assert (pair[0] < pair[1]) == (float(value) < float(bound))


@given(value=st.floats(allow_nan=False))
def test_equal_numbers_are_shown_equal(value: float) -> None:
    """A pass at the very bound reads so."""
    shown = show_apart(value, value)
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (3.0, "3"),
        (1234.0, "1234"),
        (12345.0, "1.234e+04"),
        (0.123456, "0.1235"),
        (1e-7, "1e-07"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_for_people(value: float, shown: str) -> None:
    """Four significant digits, integers without a point."""
    assert shown == show(value)


@pytest.mark.parametrize("relation", [">=", "<="])
@pytest.mark.parametrize("pair", [(math.nan, 1.0), (1.0, math.nan), (math.nan, math.nan)])
def test_nan_fails_either_way(relation: Relation, pair: tuple[float, float]) -> None:
    """On either side."""
    assert Status.FAIL is judge(pair[0], relation, pair[1])


@given(value=st.floats(allow_nan=False), bound=st.floats(allow_nan=False))
def test_comparison_is_on_unrounded_numbers(value: float, bound: float) -> None:
    """The bound itself passes, the next number beyond it does not."""
    assert (value >= bound) == (judge(value, ">=", bound) is Status.PASS)
    assert (value <= bound) == (judge(value, "<=", bound) is Status.PASS)
    assert Status.PASS is judge(bound, ">=", bound)


def test_nothing_compared_fails() -> None:
    """A gate without a layer has proved nothing."""
    empty = verdict()
    assert (Status.FAIL, False) == (empty.status, empty.passed)
    assert "FAIL margin_above: nothing was compared" == empty.first_line
    with pytest.raises(GateFailure):
        empty.require()


@pytest.mark.parametrize("status", list(Status))
def test_a_verdict_is_true_only_for_pass(status: Status) -> None:
    """``assert audit.check_...`` fails where the verdict is FAIL or INSUFFICIENT."""
    assert (status is Status.PASS) is bool(verdict(reason(status=status)))


def test_releases_are_counted_as_releases() -> None:
    """The first line of a verdict on releases counts releases and names each."""
    names = ("identity@1", "round(bits=2)@1")
    passing = [Reason(one, Status.PASS, "tokens", 0.0, 1.0, "<=", unit="release") for one in names]
    expected = "PASS not_recoverable: 2 releases, identity@1, round(bits=2)@1"
    assert expected == verdict(*passing, check="not_recoverable").first_line


def test_releases_left_out_of_the_text_are_called_releases() -> None:
    """The line that names the failing reasons past the listed ones has their unit."""
    failing = [
        Reason(f"r{at}@1", Status.FAIL, "tokens", 1.0, 0.0, "<=", unit="release")
        for at in range(14)
    ]
    assert "  … and 2 more releases: r12@1, r13@1" in verdict(*failing).text.split("\n")


@given(given_reasons=st.lists(reasons, min_size=1, max_size=8))
def test_the_joint_status_is_the_worst(given_reasons: list[Reason]) -> None:
    """FAIL before INSUFFICIENT before PASS, and only PASS is green."""
    joint = verdict(*given_reasons)
    worst = [Status.FAIL, Status.INSUFFICIENT, Status.PASS]
    assert min((one.status for one in given_reasons), key=worst.index) is joint.status
    assert (joint.status is Status.PASS) == joint.passed
    assert joint.failing == tuple(one for one in given_reasons if one.status is not Status.PASS)


def test_insufficient_is_red() -> None:
    """The sample proves neither, and the gate does not open."""
    undecided = verdict(reason(3.0, 2.0, status=Status.INSUFFICIENT))
    assert not undecided.passed
    assert undecided.first_line.startswith("INSUFFICIENT margin_above layer04: ")
    with pytest.raises(GateFailure, match="INSUFFICIENT"):
        undecided.require()


@pytest.mark.parametrize(
    ("given_reasons", "line"),
    [
        ([reason(3.0)], "PASS margin_above: layer04: separation margin 3, meets >= 2"),
        (
            [reason(3.0, layer="layer01"), reason(3.0), reason(3.0, layer="norm")],
            "PASS margin_above: 3 layers, layer01 to norm",
        ),
        ([reason()], "FAIL margin_above layer04: separation margin 1, wants >= 2"),
        (
            [reason(3.0, layer="layer01"), reason(), reason(layer="norm")],
            "FAIL margin_above layer04: separation margin 1, wants >= 2 (+1 more)",
        ),
        (
            [reason(math.nan)],
            "FAIL margin_above layer04: separation margin nan, wants >= 2",
        ),
        (
            [reason(1.99999, 2.0)],
            "FAIL margin_above layer04: separation margin 1.99999, wants >= 2",
        ),
        (
            [reason(status=Status.INSUFFICIENT, layer="layer01"), reason()],
            "FAIL margin_above layer04: separation margin 1, wants >= 2 (+1 more)",
        ),
        (
            [reason(7.0, 0.0, "<=", headline="7 collisions")],
            "FAIL margin_above layer04: 7 collisions",
        ),
    ],
)
def test_first_lines(given_reasons: list[Reason], line: str) -> None:
    """The first bad layer, its numbers, and how many more there are."""
    assert line == verdict(*given_reasons).first_line


@pytest.mark.parametrize(
    ("check", "quantity", "line"),
    [
        (
            "margin_above",
            "separation margin (q=0.01, normalized)",
            "FAIL margin_above layer04: separation margin 0.1234, wants >= 0.1235 (+11 more)",
        ),
        (
            "colipschitz_above",
            "co-Lipschitz constant (q=0.01, normalized, 4 bits)",
            "FAIL colipschitz_above layer04: 0.1234, wants >= 0.1235 (+11 more)",
        ),
        (
            "weight_error_below",
            "weight error of mlp.up_proj",
            "FAIL weight_error_below layer04: mlp.up_proj 0.1234, wants >= 0.1235 (+11 more)",
        ),
        (
            "matches_baseline",
            "normalized_colipschitz_q was 0.1236, is",
            "FAIL matches_baseline layer04: normalized_colipsc… 0.1234, wants >= 0.1235 (+11)",
        ),
    ],
)
def test_a_line_is_whole_with_fewer_words(check: str, quantity: str, line: str) -> None:
    """What stands in parentheses goes first, then what the check's name says; numbers never."""
    failing = [reason(0.12341, 0.1235, quantity=quantity)] * 12
    assert line == verdict(*failing, check=check).first_line


def test_the_name_of_a_model_is_whole() -> None:
    """Words that the check's name says make room for it."""
    failing = [reason(0.31, 0.02, "<=", quantity="drift (99 %)")] * 2
    named = replace(verdict(*failing, check="state_drift_below"), model="gpt2-stdlib-bnb-nf4")
    assert "FAIL state_drift_below layer04 of gpt2-stdlib-bnb-nf4: 0.31, wants <= 0.02 (+1)" == (
        named.first_line
    )


def test_the_text_gives_the_evidence_of_each_failing_layer() -> None:
    """Worst pair, interval, what would have passed, the good layers, how to reproduce."""
    bad = replace(
        reason(),
        evidence=("closest pair: prompts 3 and 9",),
        interval=Interval(0.5, 1.5, 0.95),
        would_pass="a bound of at most 1",  # noqa: S106 - no password
    )
    whole = replace(verdict(reason(5.0, layer="layer01"), bad), notes=("N = 1000",))
    assert whole.text.split("\n") == [
        "FAIL margin_above layer04: separation margin 1, wants >= 2",
        "  gpt2, 1000 prompts",
        "  layer04: FAIL: separation margin 1, wants >= 2",
        "    closest pair: prompts 3 and 9",
        "    interval of the separation margin: [0.5, 1.5] at 95%",
        "    would have passed: a bound of at most 1",
        "  PASS at layer01",
        "  N = 1000",
        "  reproduce: pytest tests/test_gate.py",
    ]


def test_every_failing_layer_is_named() -> None:
    """Also the ones past those whose evidence is listed."""
    text = verdict(*[reason(layer=f"layer{at:02d}") for at in range(1, 41)]).text
    assert all(f"layer{at:02d}" in text for at in range(1, 41))
    assert "… and 28 more layers: layer13, " in text


@pytest.mark.parametrize(
    ("confidence", "said"), [(0.95, "95%"), (0.5, "50%"), (0.995, "99.5%"), (0.9999, "99.99%")]
)
def test_an_interval_says_its_confidence(confidence: float, said: str) -> None:
    """No confidence under 1 reads 100 %."""
    assert f"[0, inf] at {said}" == str(Interval(0.0, math.inf, confidence))


@given(verdict=verdicts)
def test_a_verdict_is_json(verdict: Verdict) -> None:
    """Numbers that are not finite become strings, the others stay as they are."""
    data = json.loads(dumps(verdict))
    assert (verdict.check, str(verdict.status)) == (data["check"], data["status"])
    assert verdict.first_line == data["first_line"]
    assert len(verdict.reasons) == len(data["reasons"])
    for one, plain in zip(verdict.reasons, data["reasons"], strict=True):
        assert str(one.status) == plain["status"]
        assert list(one.evidence) == plain["evidence"]
        if math.isfinite(one.value):
            assert one.value == plain["value"]
        else:
            assert str(one.value) == plain["value"]
        assert (one.interval is None) == (plain["interval"] is None)


def test_numpys_floats_are_json_too() -> None:
    """Measured numbers come from arrays."""
    measured = reason(np.float64(1.5), np.float64(math.nan))
    plain = json.loads(dumps(verdict(measured)))
    assert (1.5, "nan") == (plain["reasons"][0]["value"], plain["reasons"][0]["bound"])


def test_a_pass_is_returned_and_a_failure_raised_with_its_text() -> None:
    """So that asserting and checking are one thing."""
    good, bad = verdict(reason(3.0)), verdict(reason())
    assert good.require() is good
    with pytest.raises(GateFailure) as caught:
        bad.require()
    assert bad.text == str(caught.value)
    assert isinstance(caught.value, AssertionError)


@given(verdict=verdicts)
def test_a_verdict_survives_json(verdict: Verdict) -> None:
    """What travels from a worker is what was sent, to the last bit."""
    sent = dumps(verdict)
    assert sent == dumps(loads(Verdict, sent))
    assert verdict.text == loads(Verdict, sent).text


def test_the_model_is_named_where_there_are_several() -> None:
    """In the first line, whatever the status."""
    bad = Reason("norm", Status.FAIL, "1% margin", value=0.0125, bound=0.1, relation=">=")
    good = Reason("norm", Status.PASS, "1% margin", value=0.2, bound=0.1, relation=">=")
    lines = [
        Verdict("margin_above", reasons, "a model", "pytest", model="nf4").first_line
        for reasons in ((bad,), (good,), ())
    ]
    assert [
        "FAIL margin_above norm of nf4: 1% margin 0.0125, wants >= 0.1",
        "PASS margin_above of nf4: norm: 1% margin 0.2, meets >= 0.1",
        "FAIL margin_above of nf4: nothing was compared",
    ] == lines
