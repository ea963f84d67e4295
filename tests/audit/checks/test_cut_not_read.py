from typing import Any

import pytest

from pytest_injectivity import Audit
from pytest_injectivity.audit.planning.needs import Asked, needs_of
from pytest_injectivity.audit.releases.cuts import cut_releases
from pytest_injectivity.errors import GateFailure, LayerError, OptionError
from pytest_injectivity.testing import tiny_decoder
from tests.audits import audit_of

IDS = [[at, 3 * at % 40, 7, at + 20, 5, at + 1] for at in range(12)]
FEW: dict[str, Any] = {"prompts": 8, "tokens": 4, "free_running": 0, "practice": 0}


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A generic decoder."""
    return audit_of(tmp_path_factory.mktemp("generic"), tiny_decoder("llama"), IDS)


def test_each_cut_is_judged_at_each_wire(audit: Audit) -> None:
    """Shallow first; states that are sent as they are, or cast, are read at every depth."""
    verdict = audit.check_cut_not_read([-1, 1], 0.2, wires=("identity", "cast(bf16)"), **FEW)
    named = ["identity@1", "cast(dtype=bf16)@1", "identity@2", "cast(dtype=bf16)@2"]
    assert named == [one.where for one in verdict.reasons]
    assert ["FAIL"] * 4 == [str(one.status) for one in verdict.reasons]


def test_what_is_quoted_stands_beside_what_is_read(audit: Audit) -> None:
    """The published verifier at its tolerance, the strongest here, and the model's own guesses."""
    with pytest.raises(GateFailure) as error:
        audit.assert_cut_not_read(1, 0.2, wires=("cast(bf16)",), **FEW)
    text = str(error.value)
    assert "at a fixed tolerance of 1e-05, as published: " in text
    assert "by the strongest here, " in text
    assert "guessed by the model without any state: " in text
    assert "private" not in text


def test_noise_says_that_the_fixed_tolerance_was_not_run(audit: Audit) -> None:
    """A tolerance below any noise would read nothing, which says nothing."""
    verdict = audit.check_cut_not_read(1, 0.9, wires="gaussian(sigma=50 rel)", **FEW)
    assert verdict.passed
    assert "as published: not run: noise is added" in str(verdict)


def test_the_word_is_that_nothing_was_broken(audit: Audit) -> None:
    """Never that a cut is private."""
    verdict = audit.check_cut_not_read(1, 0.9, wires=("gaussian(sigma=50 rel)",), **FEW)
    assert "not broken by these" in verdict.reasons[0].headline
    assert "private" not in str(verdict)


@pytest.mark.parametrize("wires", [(), ("identity@1",), (8,)])
def test_wires_are_steps_without_a_place(audit: Audit, wires: Any) -> None:
    """The layers say where."""
    with pytest.raises(OptionError, match="give steps without a place, such as 'identity'"):
        audit.check_cut_not_read(1, 0.5, wires=wires, **FEW)


def test_wrong_bounds_and_layers_are_refused(audit: Audit) -> None:
    """By their names."""
    with pytest.raises(OptionError, match="max_token_rate is not given"):
        audit.check_cut_not_read(1)
    with pytest.raises(OptionError, match="max_token_rate=1"):
        audit.check_cut_not_read(1, 1.0)
    with pytest.raises(LayerError, match="out of range"):
        audit.check_cut_not_read(9, 0.5)


def test_a_plan_knows_the_cuts() -> None:
    """As the releases they are."""
    needs = needs_of(Asked("cut_not_read", {"layers": [1, 2], "max_token_rate": 0.5}), 4, "all")
    planned = {text for need in needs for text in need.releases}
    assert len(planned) == len(cut_releases([1, 2], ("a", "b", "c", "d"), 4)) == 8
