import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_injectivity import Audit, GateFailure, LayerError, OptionError, Verdict
from pytest_injectivity.testing import tiny_decoder
from tests.audits import audit_of

CHECKS = [
    "no_collisions",
    "no_continuation_collisions",
    "margin_above",
    "colipschitz_above",
    "bilipschitz_within",
    "sipit_recovers",
]
IDS = [[at, at + 1, 9] for at in range(8)]
# Each passes with the first arguments and fails with the second.
ARGUMENTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "no_collisions": ({}, {"eps": 1e9}),
    "no_continuation_collisions": ({"prompts": 2}, {"prompts": 2, "eps": 1e9}),
    "margin_above": ({"margin": 1e-12}, {"margin": 1e9}),
    "colipschitz_above": ({"alpha": 1e-12}, {"alpha": 1e9}),
    "bilipschitz_within": ({"distortion": 1e9}, {"distortion": 0.0}),
    "sipit_recovers": ({"prompts": 2, "tokens": 2}, {"prompts": 2, "tokens": 2, "min_rate": 1.0}),
}


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A generic decoder of three layers."""
    return audit_of(tmp_path_factory.mktemp("audit"), tiny_decoder(layers=3), IDS, layers="2:")


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_an_assertion_with_its_arguments(name: str) -> None:
    """Same signature, its own name, and a docstring that says what it raises."""
    check, asserted = (getattr(Audit, f"{kind}_{name}") for kind in ("check", "assert"))
    assert inspect.signature(check) == inspect.signature(asserted)
    assert f"assert_{name}" == asserted.__name__
    assert f"Audit.assert_{name}" == asserted.__qualname__
    assert "raises `GateFailure` unless its verdict is PASS" in asserted.__doc__
    assert check.__doc__ in asserted.__doc__


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_returns_what_its_assertion_raises(audit: Audit, name: str) -> None:
    """A passing assertion returns the verdict, a failing one raises its text."""
    good, bad = ARGUMENTS[name]
    check, asserted = (getattr(audit, f"{kind}_{name}") for kind in ("check", "assert"))
    verdict = asserted("all", **good)
    assert isinstance(verdict, Verdict)
    assert (name, "PASS") == (verdict.check, str(verdict.status))
    if name == "sipit_recovers":
        return  # a generic model has no failing one; tests/checks has
    failing = check("all", **bad)
    with pytest.raises(GateFailure) as raised:
        asserted("all", **bad)
    assert failing.text == str(raised.value)


@pytest.mark.parametrize("name", CHECKS)
def test_without_a_layer_the_configs_are_judged(audit: Audit, name: str) -> None:
    """``layer=None`` is the config's; the fixture's first argument is the layer."""
    check = getattr(audit, f"check_{name}")
    good, _ = ARGUMENTS[name]
    named = [reason.where for reason in check(None, **good).reasons]
    assert ["layer02", "layer03"] == named
    assert ["layer01"] == [reason.where for reason in check(1, **good).reasons]


@pytest.mark.parametrize("name", CHECKS)
def test_a_layer_that_is_not_there_is_refused(audit: Audit, name: str) -> None:
    """By every check."""
    good, _ = ARGUMENTS[name]
    with pytest.raises(LayerError, match="layer 7 is out of range"):
        getattr(audit, f"check_{name}")(7, **good)


def test_verdicts_are_kept_in_order(tmp_path: Path) -> None:
    """Of checks and assertions, passing or not; what is refused leaves none."""
    audit = audit_of(tmp_path, tiny_decoder(), IDS)
    first = audit.check_margin_above(1, margin=1e-12)
    with pytest.raises(GateFailure):
        audit.assert_margin_above(2, 1e9)
    with pytest.raises(OptionError):
        audit.check_margin_above(1, -1.0)
    third = audit.assert_no_collisions("norm")
    assert ["margin_above", "margin_above", "no_collisions"] == [v.check for v in audit.verdicts]
    assert [first, third] == [audit.verdicts[0], audit.verdicts[2]]


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, int, np.int64])
def test_numbers_of_any_kind_are_bounds(audit: Audit, kind: Callable[[int], float]) -> None:
    """What numpy computed is a number, and the verdict holds Python's."""
    reason = audit.check_margin_above(1, kind(3)).reasons[0]
    assert (3.0, float) == (reason.bound, type(reason.bound))
    verdict = audit.check_bilipschitz_within(1, {1: kind(3)})
    assert (3.0, float) == (verdict.reasons[0].bound, type(verdict.reasons[0].bound))


def test_a_verdict_says_what_it_is_of(audit: Audit) -> None:
    """Model, dtype, device, prompts with N and hash; and how to get it again."""
    verdict = audit.check_margin_above(1, margin=1e-12)
    assert audit.run_summary().subject == verdict.subject
    assert audit.reproduce() == verdict.reproduce


def test_the_traceback_ends_in_the_callers_code(audit: Audit) -> None:
    """Frames of this package are hidden from pytest's tracebacks of a red gate."""
    with pytest.raises(GateFailure) as raised:
        audit.assert_margin_above(1, 1e9)
    frames = [entry for entry in raised.traceback if not entry.ishidden(raised)]
    assert [Path(__file__).name] == [Path(str(entry.path)).name for entry in frames]


def test_the_traceback_of_wrong_use_ends_in_the_callers_code(audit: Audit) -> None:
    """An argument that a check does not have is the caller's mistake."""
    with pytest.raises(OptionError) as raised:
        audit.check_margin_above(colour=1)  # type: ignore[call-arg] # which is the test
    frames = [entry for entry in raised.traceback if not entry.ishidden(raised)]
    assert [Path(__file__).name] == [Path(str(entry.path)).name for entry in frames]
