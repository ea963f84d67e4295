from dataclasses import replace

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.reports.drawing import draw, printed
from pytest_injectivity.reports.reference_table import next_token_line, reference_table
from pytest_injectivity.results.summary import Comparison, CrossReading, Estimate, NextToken

KEPT = Estimate(0.9, 0.8, 1.1)


def _text(*comparisons: Comparison) -> str:
    """The table, one blank between cells."""
    lines = printed(draw(reference_table(comparisons)), 300, color=False)
    return "\n".join(" ".join(line.split()) for line in lines)


def test_a_row_a_layer_shallow_first() -> None:
    """The final norm last, whatever order they came in."""
    found = _text(*(Comparison(name, 9, 0, 0) for name in ("norm", "layer10", "layer02")))
    assert ["layer02", "layer10", "norm"] == [line.split()[0] for line in found.splitlines()[1:]]


def test_what_is_kept_has_its_interval() -> None:
    """Unknown limits are left out, unknown values are a dash."""
    found = _text(
        Comparison("layer01", 9, 0, 0, margin=KEPT),
        Comparison("layer02", 9, 0, 0, margin=Estimate(0.95, None, None)),
        Comparison("layer03", 9, 0, 0, margin=Estimate(None, None, None)),
        Comparison("layer04", 9, 0, 0),
    ).splitlines()
    assert "layer01 0.9 [0.8, 1.1]◄" == found[1]
    assert "layer02 0.95" == found[2]
    assert "layer03 –" == found[3]
    assert "layer04 –" == found[4]


def test_the_worst_is_marked_whichever_way_it_lies() -> None:
    """A margin three times as large is further off than one of half."""
    grown, shrunk = Estimate(3.0, 2.0, 4.0), Estimate(0.5, 0.4, 0.6)
    found = _text(
        Comparison("layer01", 9, 0, 0, margin=shrunk, drift_q99=0.2, cosine_min=0.9),
        Comparison("layer02", 9, 0, 0, margin=grown, drift_q99=0.1, cosine_min=0.8),
    ).splitlines()
    assert "layer01 0.5 [0.4, 0.6] 0.2◄ 0.9" == found[1]
    assert "layer02 3 [2, 4]◄ 0.1 0.8◄" == found[2]


def test_what_nobody_asked_for_has_no_column() -> None:
    """SipIt and what the parent reads cost much."""
    read = Estimate(0.5, 0.1, 0.9)
    plain = Comparison("layer01", 9, 0, 0, new_collisions=0)
    assert "SipIt" not in _text(plain)
    assert "read" not in _text(plain)
    more = Comparison(
        "layer01",
        9,
        0,
        0,
        sipit=Estimate(1.0, 0.8, 1.0),
        reference_sipit=KEPT,
        cross=CrossReading(4, 3, 0.1, read, read, Estimate(0.25, 0.0, 1.0), KEPT),
    )
    assert "layer01 1/0.9 0.5/0.9" == _text(more).splitlines()[1]


def test_lost_rows_are_told_beside_the_layer() -> None:
    """And whose they are."""
    found = _text(Comparison("layer01", 9, 2, 3))
    assert "layer01 (2 not finite, 3 of the parent not finite)" in found


def test_an_estimate_has_no_number_that_json_has_not() -> None:
    """A NaN and an infinity are None."""
    found = Estimate.of(float("nan"), Interval(0.0, float("inf"), 0.95))
    assert Estimate(None, 0.0, None) == found


def test_next_tokens_are_one_line_of_a_run() -> None:
    """Divergences with the interval of their mean, the share of equal choices, and of how many."""
    kl, top1 = Estimate(0.0123, 0.01, 0.015), Estimate(0.95, 0.94, 0.96)
    one = Estimate(0.2, 0.1, None)
    found = NextToken(
        3,
        40,
        second_half=False,
        lost=0,
        reference_lost=0,
        kl=kl,
        kl_q99=one,
        kl_q999=one,
        kl_max=0.5,
        top1=top1,
        elsewhere=0.0,
    )
    assert next_token_line(found) == (
        "KL(parent || model) 0.0123 [0.01, 0.015], 99 % 0.2, 99.9 % 0.2, largest 0.5; top-1"
        " agreement 0.95 [0.94, 0.96]; 40 positions of 3 prompts"
    )
    lost = replace(found, lost=2, reference_lost=40, second_half=True)
    assert next_token_line(lost) == (
        "logits not finite at 2, 40 of the parent of 40 positions of 3 prompts (second half of each)"
    )
