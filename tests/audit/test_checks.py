"""One contract for every check of the registry."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import Audit, GateFailure, LayerError, OptionError, Verdict
from pytest_injectivity.audit.bound_checks import CHECKS
from pytest_injectivity.plugin import check_names
from pytest_injectivity.states.external import save_states
from pytest_injectivity.testing import plant_nan, save_checkpoint, tiny_decoder
from tests.audits import audit_against

IDS = [[at, at + 1, at + 2, 9] for at in range(36)]
FEW = {"prompts": 2, "tokens": 3}
FEWER = {**FEW, "free_running": 0, "practice": 0}
# Arguments that a small, generic model is judged by.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "bilipschitz_within": {"distortion": 1e9},
    "block_error_below": {},
    "colipschitz_above": {"alpha": 1e-12},
    "colipschitz_retained": {"fraction": 0.01},
    "cut_not_read": {"layers": 1, "max_token_rate": 0.5, **FEWER},
    "discriminant_distance_above": {"distance": 1e-12, "over": "embedding"},
    "local_colipschitz_above": {"alpha": 1e-12, "prompts": 2, "positions": 1},
    "margin_above": {"margin": 1e-12},
    "margin_retained": {"fraction": 0.01},
    "matches_baseline": {},
    "metric_bounded": {"metric": "margin", "at_least": 1e-12},
    "next_token_kept": {"kl": 10.0, "top1": 0.01},
    "no_collisions": {},
    "no_continuation_collisions": {"prompts": 2},
    "no_new_collisions": {},
    "no_repetition_collapse": {"n": 2},
    "not_read_by_reference": {"max_rate": 0.5, **FEW},
    "not_recoverable": {"release": "identity@1", "max_token_rate": 0.5, **FEWER},
    "one_step_distinct": {},
    "quantized": {"bits": 4.0},
    "same_function": {},
    "served_as_audited": {},
    "served_colipschitz_above": {"alpha": 1e-12},
    "served_margin_above": {"margin": 1e-12},
    "served_no_collisions": {},
    "sipit_recovers": FEW,
    "stable_along_training": {"within": 1e9},
    "state_drift_below": {"relative": 10.0},
    "states_recoverable": {"min_rate": 0.5, "certify": 0},
    "weight_error_below": {},
    "utility_kept": {"release": "identity@1", "min_agreement": 0.5, **FEWER},
}
# What these look at is no state.
OF_RELEASES = ("cut_not_read", "not_recoverable", "utility_kept")
WITHOUT_STATES = {"same_function"}
# What is judged against: every argument above that is no count.
BOUNDS = [
    (name, argument)
    for name, given in sorted(ARGUMENTS.items())
    for argument, value in given.items()
    if isinstance(value, float)
]
BY_LAYER = sorted(
    name for name, check in CHECKS.items() if "layer" in inspect.signature(check).parameters
)
NAMES = sorted(CHECKS)


def _audit(folder: Path, *, damaged: bool) -> Audit:
    """A model with its reference, states from elsewhere and a place for a baseline."""
    decoder = tiny_decoder(seed=1)
    judged = plant_nan(decoder, 1) if damaged else decoder
    save_checkpoint(tiny_decoder(), folder / "model" / "checkpoint-0")
    save_checkpoint(judged, folder / "model" / "checkpoint-1")
    save_states(folder / "states.safetensors", [torch.full((2, 16), torch.nan)], 1, ids=[[1, 2]])
    return audit_against(
        folder,
        judged,
        tiny_decoder(),
        IDS,
        states=str(folder / "states.safetensors"),
        baseline=str(folder / "baselines"),
    )


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A generic model, held against another."""
    return _audit(tmp_path_factory.mktemp("audit"), damaged=False)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A model whose states after the first block are NaN."""
    return _audit(tmp_path_factory.mktemp("damaged"), damaged=True)


def test_a_check_is_a_file_a_row_and_a_fixture() -> None:
    """The files of ``audit/checks``, the rows of the registry and the fixtures have the same names."""
    assert NAMES == list(check_names())
    assert NAMES == sorted(ARGUMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_check_has_an_assertion_of_the_same_signature(name: str) -> None:
    """Of its own name, with a docstring that says what it raises."""
    check, asserted = (getattr(Audit, f"{kind}_{name}") for kind in ("check", "assert"))
    assert inspect.signature(check) == inspect.signature(asserted)
    assert (f"check_{name}", f"assert_{name}") == (check.__name__, asserted.__name__)
    assert "raises `GateFailure` unless its verdict is PASS" in asserted.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_a_check_says_what_it_takes_and_shows_how_it_is_called(name: str) -> None:
    """Every parameter has a line under Args, and there is an example that runs."""
    said = inspect.getdoc(CHECKS[name]) or ""
    parameters = [one for one in inspect.signature(CHECKS[name]).parameters if one != "size"]
    arguments = said.partition("Args:")[2].partition("Raises:")[0]
    assert [] == [one for one in parameters if f"{one}:" not in arguments]
    assert f"check_{name}(" in said.partition("Example:")[2]


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_that_a_check_does_not_have_is_wrong_use(audit: Audit, name: str) -> None:
    """The error names it."""
    with pytest.raises(OptionError, match="got an unexpected keyword argument 'colour'"):
        getattr(audit, f"check_{name}")(**ARGUMENTS[name], colour=1)


def test_wrong_use_says_how_a_check_is_called(audit: Audit) -> None:
    """Its parameters and their defaults, without the audit."""
    with pytest.raises(OptionError, match=r"called as check_margin_above\(layer=None, margin=<req"):
        audit.check_margin_above(colour=1)  # type: ignore[call-arg] # which is the test
    with pytest.raises(OptionError, match="missing a required argument: 'release'"):
        audit.check_not_recoverable()  # type: ignore[call-arg] # likewise


@pytest.mark.parametrize("name", NAMES)
def test_a_check_reaches_a_verdict_and_keeps_it(audit: Audit, name: str) -> None:
    """One that names the check; the assertion returns it or raises its text."""
    verdict = getattr(audit, f"check_{name}")(**ARGUMENTS[name])
    assert isinstance(verdict, Verdict)
    assert (name, verdict) == (verdict.check, audit.verdicts[-1])
    assert verdict.reasons
    asserted: Callable[..., Verdict] = getattr(audit, f"assert_{name}")
    if verdict:
        assert name == asserted(**ARGUMENTS[name]).check
    else:
        with pytest.raises(GateFailure, match=name):
            asserted(**ARGUMENTS[name])


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if name not in {*WITHOUT_STATES, *OF_RELEASES}],
)
def test_states_that_are_not_numbers_fail(damaged: Audit, name: str) -> None:
    """NaN passes no check, whatever its thresholds are."""
    assert not getattr(damaged, f"check_{name}")(**ARGUMENTS[name])


@pytest.mark.parametrize("name", OF_RELEASES)
def test_states_that_are_not_numbers_are_not_released(damaged: Audit, name: str) -> None:
    """What would be released is no state: that is said instead of measured."""
    with pytest.raises(OptionError, match="have a NaN or an infinity before anything is released"):
        getattr(damaged, f"check_{name}")(**ARGUMENTS[name])


@pytest.mark.parametrize("name", BY_LAYER)
@pytest.mark.parametrize("layer", [[], ""])
def test_comparing_no_layer_is_refused(audit: Audit, name: str, layer: object) -> None:
    """A list of no layers is a mistake of whoever wrote it."""
    with pytest.raises((LayerError, OptionError)):
        getattr(audit, f"check_{name}")(layer, **ARGUMENTS[name])


@pytest.mark.parametrize(("name", "argument"), BOUNDS)
def test_a_bound_that_is_not_a_number_is_refused(audit: Audit, name: str, argument: str) -> None:
    """The error names the argument and its value."""
    with pytest.raises(OptionError, match=f"^{argument}=nan"):
        getattr(audit, f"check_{name}")(**(ARGUMENTS[name] | {argument: math.nan}))


@pytest.mark.parametrize(("name", "argument"), [one for one in BOUNDS if one[0] in BY_LAYER])
def test_a_layer_without_a_bound_is_refused(audit: Audit, name: str, argument: str) -> None:
    """Where bounds are given by layer, the error names the argument and the layer that has none."""
    given = ARGUMENTS[name] | {argument: {2: ARGUMENTS[name][argument]}}
    with pytest.raises(OptionError, match=f"^{argument} has no value for layer01"):
        getattr(audit, f"check_{name}")(1, **given)
