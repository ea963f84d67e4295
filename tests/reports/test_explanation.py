"""A run in plain sentences."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.plugin import check_names
from pytest_injectivity.reports.explanation import explanation
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.questions import QUESTIONS
from pytest_injectivity.results.run_results import NamedResults, RunResults
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.results.test_summary import RUN


def _reason(where: str = "layer01", status: Status = Status.FAIL, value: float = 0.05) -> Reason:
    reason = Reason(where, status, "separation margin", value, 0.06, ">=")
    return replace(reason, would_pass=f"a bound of at most {value}")


def _verdict(*reasons: Reason, check: str = "margin_above", model: str = "") -> Verdict:
    return Verdict(check, reasons, "s", "pytest -k margin", model=model)


def _said(*verdicts: Verdict, width: int = 1000, **more: object) -> list[str]:
    results = RunResults(run=RUN, verdicts=verdicts, **more)  # type: ignore[arg-type] # of its fields
    return explanation(results, width=width).split("\n")


def test_a_red_check_is_explained() -> None:
    """What was asked, found and meant, what would have passed, what to do, how to see it again."""
    good = _reason("layer03", Status.PASS, 0.07)
    lines = _said(_verdict(_reason(), _reason("layer02", value=0.04), good))
    assert "The run was red: 1 of 1 verdict is not PASS." == lines[0]
    start = lines.index("FAIL margin_above")
    assert [
        "  Asked: Does nearly every prompt keep a distance from the nearest other one?",
        "  Found: no. At layer01: separation margin 0.05, where at least 0.06 is wanted.",
        "  It is so at 2 layers: layer01, layer02; it passes at 1 other.",
        f"  That means: {QUESTIONS['margin_above'].means}",
        "  Would have passed: a bound of at most 0.05 (layer01).",
    ] == lines[start + 1 : start + 6]
    assert lines[-2].startswith("  Next: Compare with a model that you trust")
    assert "  To see it again: pytest -k margin" == lines[-1]


def test_a_green_check_says_what_is_nearest_to_its_bound() -> None:
    """And at how many layers; there is nothing to do."""
    values = {"layer01": 0.09, "layer02": 0.07, "norm": 0.08}
    lines = _said(_verdict(*(_reason(one, Status.PASS, value) for one, value in values.items())))
    found = "  Found: yes, at all 3 layers (layer01, layer02, norm). Nearest to its bound: layer02,"
    assert f"{found} separation margin 0.07, at least 0.06 is wanted." == lines[-1]


def test_a_sample_that_proves_neither_says_so() -> None:
    """More prompts may prove it; of a field of a configuration they prove nothing."""
    undecided = _reason(status=Status.INSUFFICIENT)
    text = "\n".join(_said(_verdict(undecided)))
    assert "Found: the sample proves neither yes nor no. At layer01: " in text
    assert "Next: Audit more prompts" in text
    field = replace(undecided, unit="field", where="hidden_act")
    text = "\n".join(_said(_verdict(field, check="same_function")))
    assert "Audit more prompts" not in text


def test_nothing_compared_proves_nothing() -> None:
    """It is red, and the sentence says why."""
    assert "  Found: nothing was compared, which proves nothing and therefore fails." in _said(
        _verdict()
    )


def test_tests_of_one_layer_each_are_one_explanation() -> None:
    """Red checks come first."""
    green = _verdict(_reason("layer01", Status.PASS, 0.07), check="no_collisions")
    lines = _said(green, _verdict(_reason("layer01")), _verdict(_reason("layer02")))
    heads = [line for line in lines if line.startswith(("FAIL", "PASS"))]
    assert ["FAIL margin_above", "PASS no_collisions"] == heads


def test_models_are_told_apart() -> None:
    """Each with what was audited of it."""
    models = tuple(NamedResults(name=name, run=RUN) for name in ("nf4", "awq"))
    results = RunResults(
        models=models, verdicts=tuple(_verdict(_reason(), model=one.name) for one in models)
    )
    lines = explanation(results, width=1000).split("\n")
    assert ["FAIL margin_above of nf4", "FAIL margin_above of awq"] == [
        line for line in lines if line.startswith("FAIL")
    ]
    assert 2 == sum(line.startswith("Audited: ") for line in lines)


def test_the_run_says_why_it_is_red() -> None:
    """Wrong use and a lost worker are no verdicts."""
    outcome = Outcome(1, incomplete=("the run was incomplete: lost gw1",))
    lines = _said(outcome=outcome, complete=False)
    assert [
        "The run was red: no verdict.",
        "Because: the run was incomplete: lost gw1.",
        "It is not complete: it was interrupted, or a worker was lost.",
    ] == lines[:3]


def test_a_test_that_failed_otherwise_is_said() -> None:
    """Where a verdict is red, that is the reason."""
    said = "Because: a test failed for a reason of its own."
    green = _verdict(_reason(status=Status.PASS))
    assert said in _said(green, outcome=Outcome(1))
    assert said not in _said(green, outcome=Outcome(0))
    assert said not in _said(_verdict(_reason()), outcome=Outcome(1))


def test_a_check_of_another_version_is_explained_as_far_as_it_can() -> None:
    """A report may be newer than this package."""
    assert any("does not know the check" in line for line in _said(_verdict(_reason(), check="x")))


@pytest.mark.parametrize("check", check_names())
@pytest.mark.parametrize("status", list(Status))
def test_every_kind_of_verdict_is_explained(check: str, status: Status) -> None:
    """Of every registered check, green, red and undecided."""
    lines = _said(_verdict(_reason(status=status), check=check))
    assert f"{status} {check}" in lines
    assert any(line.startswith("  Asked: ") for line in lines)
    assert any(line.startswith("  Found: ") for line in lines)


anything = st.text(max_size=40)


@given(check=anything, where=anything, text=anything, width=st.integers(20, 120))
def test_what_a_file_says_cannot_speak_to_the_terminal(
    check: str, where: str, text: str, width: int
) -> None:
    """No control sequence of a model's, check's or layer's name is printed."""
    reason = replace(_reason(where), headline=text, would_pass=text, evidence=(f"blame: {text}",))
    verdict = replace(_verdict(reason, check=check, model=text), ahead=(text,), reproduce=text)
    printed = "".join(_said(verdict, width=width))
    assert printed.isprintable() or not set(printed) & set(map(chr, (*range(32), *range(127, 160))))


@given(width=st.integers(30, 200))
def test_lines_fit_the_terminal(width: int) -> None:
    """But for commands, which are copied, and words that are longer."""
    lines = _said(_verdict(_reason(), _reason("layer02")), width=width)
    assert width >= max(len(line) for line in lines if not line.startswith("  To see it again"))
