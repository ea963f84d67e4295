from dataclasses import replace

import pytest

from pytest_injectivity.core.strict_json import dumps
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.certificates import Basis, Certificate, Claim
from pytest_injectivity.results.run_results import RunResults, gather
from pytest_injectivity.results.summary import Comparison, Estimate, LayerSummary
from pytest_injectivity.results.sweeps import Sweep
from pytest_injectivity.results.told import Told
from pytest_injectivity.results.verdict import Verdict
from tests.results.test_summary import RUN
from tests.sweep_points import point


def _verdict(name: str) -> Verdict:
    return Verdict(name, (), "a model", "pytest")


def test_verdicts_are_in_the_order_of_the_tests() -> None:
    """Whichever worker was first; of one test in the order it reached them."""
    told = [
        Told(at, "verdict", dumps(_verdict(name))) for at, name in ((2, "c"), (0, "a"), (0, "b"))
    ]
    assert ["a", "b", "c"] == [one.check for one in gather(told).verdicts]


def test_layers_are_in_the_order_of_their_depth() -> None:
    """Each once, of one layer the unrounded states first, then from many bits to few."""
    keys = [("norm", None), ("layer10", None), ("layer02", 4), ("layer02", 8), ("layer02", None)]
    told = [Told(0, "layer", dumps(LayerSummary(name, bits, 3))) for name, bits in [*keys, keys[0]]]
    assert [keys[4], keys[3], keys[2], keys[1], keys[0]] == [one.key for one in gather(told).layers]


def test_a_layer_has_the_claims_that_any_worker_knows_best() -> None:
    """A test that decided pairs, and a later one that did not, of the same layer."""
    proved, nothing = Claim(Basis.PROVED, distinct=True, why="a"), Claim(Basis.UNKNOWN, None, "b")
    estimated = Claim(Basis.ESTIMATED, distinct=True, why="c")
    certificates = Certificate(proved, estimated, nothing), Certificate(proved, nothing, nothing)
    told = [
        Told(at, "layer", dumps(LayerSummary("norm", None, 3, certificate=one)))
        for at, one in enumerate((*certificates, None))
    ]
    (found,) = gather(told).layers
    assert certificates[0] == found.certificate


def test_a_comparison_has_what_any_worker_knows() -> None:
    """One worker ran SipIt and another did not."""
    rate = Estimate(0.5, 0.4, 0.6)
    first, second = (
        Comparison("norm", 9, 0, 0, sipit=rate),
        Comparison("norm", 9, 0, 0, resolution=0.1),
    )
    (found,) = gather(
        [Told(at, "comparison", dumps(one)) for at, one in enumerate((first, second))]
    ).comparisons
    assert (rate, 0.1) == (found.sipit, found.resolution)


def test_a_run_says_where_all_of_its_numbers_come_from() -> None:
    """One worker computed and another one read, and one of them had the parent."""
    runs = replace(RUN, reference="the parent"), replace(RUN, numbers="from the store")
    found = gather([Told(at, "run", dumps(one)) for at, one in enumerate(runs)]).run
    assert found == replace(RUN, reference="the parent", numbers="computed, in part from the store")


def test_of_nothing_nothing_was_compared() -> None:
    """A sentence alone is no measurement."""
    assert not gather([Told(0, "said", "a sentence")]).compared
    assert RunResults(said=("a sentence",)) == gather([Told(0, "said", "a sentence")] * 2)


def test_what_is_not_what_it_says_is_refused() -> None:
    """With the field."""
    with pytest.raises(OptionError, match=r"layer\.n is missing"):
        gather([Told(0, "layer", '{"layer": "norm", "bits": null}')])


def test_a_sweep_is_there_once() -> None:
    """Whichever workers measured it, with its points."""
    measured = point({"margin": 0.5}, length=8, layer="norm")
    sweep = Sweep("by length", (measured,))
    assert (sweep,) == gather([Told(at, "sweep", dumps(sweep)) for at in range(2)]).sweeps


def test_models_are_kept_apart() -> None:
    """In the order of the tests; what has no name is that of the only model."""
    told = [
        Told(2, "layer", dumps(LayerSummary("norm", None, 3)), "b"),
        Told(1, "layer", dumps(LayerSummary("layer01", None, 3)), "a"),
        Told(0, "run", dumps(RUN)),
    ]
    found = gather(told)
    assert RUN == found.run
    assert ["", "a", "b"] == [name for name, _ in found.parts]
    assert ["layer01", "norm"] == [one.layers[0].layer for one in found.models]
    assert ["a", "b"] == [name for name, _ in gather(told[:2]).parts]
