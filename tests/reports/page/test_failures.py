from dataclasses import replace

from pytest_injectivity.reports.page.failures import (
    closest_pairs,
    failures,
    first_bad_layer,
    passed_charts,
)
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.reports.pages import reason, red, verdict


def _run(*verdicts: Verdict, outcome: Outcome | None = None) -> RunResults:
    return RunResults(verdicts=verdicts, outcome=outcome or red(*verdicts))


def _bad(where: str, **given: object) -> Reason:
    return replace(reason(where, Status.FAIL, 0.5), **given)  # type: ignore[arg-type] # fields


def test_tests_of_one_check_are_one_group() -> None:
    """A gate with a test for each layer has a verdict for each."""
    judged = [verdict(_bad("norm")), verdict(reason("layer01")), verdict(_bad("layer02"))]
    (found,) = failures(_run(*judged))
    assert ["layer02", "norm"] == [one.where for one in found.reasons]
    assert "2 of 3 layers not PASS" == found.counted
    assert found.chart is not None
    assert ("layer01", "layer02", "norm") == found.chart.labels


def test_models_are_told_apart() -> None:
    """A group for each."""
    found = failures(_run(verdict(_bad("norm"), model="a"), verdict(_bad("norm"), model="b")))
    assert ["a", "b"] == [one.model for one in found]


def test_what_a_test_failed_by_comes_first() -> None:
    """Before what was looked at only, and FAIL before INSUFFICIENT."""
    seen = verdict(_bad("norm"), check="seen")
    unsure = verdict(replace(_bad("norm"), status=Status.INSUFFICIENT), check="unsure")
    failed = verdict(_bad("norm"), check="failed")
    found = failures(_run(seen, unsure, failed, outcome=red(unsure, failed)))
    assert ["failed", "unsure", "seen"] == [one.check for one in found]
    assert [True, True, False] == [one.asserted for one in found]


def test_the_first_bad_layer_is_the_shallowest() -> None:
    """The head comes after all layers; what no test failed by counts where nothing else did."""
    asserted = verdict(_bad("layer03"), _bad("head"), check="a")
    seen = verdict(_bad("layer01"), check="b")
    assert ("layer03", "a") == first_bad_layer(
        failures(_run(asserted, seen, outcome=red(asserted)))
    )
    assert ("layer01", "b") == first_bad_layer(failures(_run(asserted, seen, outcome=Outcome(0))))
    assert first_bad_layer(()) is None


def test_a_verdict_on_nothing_is_a_group() -> None:
    """It compared nothing."""
    (found,) = failures(_run(verdict()))
    assert (None, "nothing was compared") == (found.first, found.counted)
    assert ("FAIL margin_above: nothing was compared",) == found.lines


def test_releases_read_by_other_attackers_are_one_group() -> None:
    """The strongest attacker is no other check."""
    judged = [
        verdict(_bad(f"identity@{at}", quantity=f"read by {at}", unit="release")) for at in (1, 2)
    ]
    (found,) = failures(_run(*judged))
    assert "identity@2" == found.others
    assert found.chart is None


def test_a_layer_that_is_judged_twice_is_not_drawn() -> None:
    """Of states rounded in two ways for example."""
    (found,) = failures(
        _run(verdict(_bad("norm")), verdict(_bad("norm")), verdict(_bad("layer01")))
    )
    assert found.chart is None


def test_what_passed_is_drawn_under_its_bound() -> None:
    """A line for each model; both bounds, where there are two."""
    kept = reason("layer01", figures={"at_least": 0.5, "at_most": 2.0})
    judged = [verdict(kept, replace(kept, where="norm"), model=model) for model in ("a", "b")]
    (chart,) = passed_charts(_run(*judged), {"a": ("A", "s0"), "b": ("B", "s1")})
    assert ["at least", "at most", "A", "B"] == [one.name for one in chart.series]
    assert [0.5, 2.0, 1.0, 1.0] == [one.points[0].value for one in chart.series]


def test_what_failed_is_not_among_what_passed() -> None:
    """It has its figure above."""
    judged = verdict(reason("layer01"), _bad("norm"))
    assert [] == passed_charts(_run(judged), {"": ("model", "s0")})


def test_pairs_are_listed_once() -> None:
    """Several checks name the same one."""
    one, two = verdict(reason("norm")), verdict(reason("norm"), check="other")
    ((model, where, check, line),) = closest_pairs((one, two))
    assert ("", "norm", "other") == (model, where, check)
    assert line.startswith("closest pair: prompt 1")
