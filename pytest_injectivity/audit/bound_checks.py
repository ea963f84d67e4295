"""The registry of checks: one row a check, which makes it a pair of methods of `Audit`.

A row binds ``check_x`` of ``checks/x.py`` as a method, and makes its twin ``assert_x``, which raises
unless the verdict is PASS. The methods keep the signature of the function, for people, editors and type
checkers.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Concatenate, ParamSpec, cast, get_args, get_origin

from pytest_injectivity.audit.checks import (
    bilipschitz_within,
    block_error_below,
    colipschitz_above,
    colipschitz_retained,
    cut_not_read,
    discriminant_distance_above,
    local_colipschitz_above,
    margin_above,
    margin_retained,
    matches_baseline,
    metric_bounded,
    next_token_kept,
    no_collisions,
    no_continuation_collisions,
    no_new_collisions,
    no_repetition_collapse,
    not_read_by_reference,
    not_recoverable,
    one_step_distinct,
    quantized,
    same_function,
    served_as_audited,
    served_colipschitz_above,
    served_margin_above,
    served_no_collisions,
    sipit_recovers,
    stable_along_training,
    state_drift_below,
    states_recoverable,
    utility_kept,
    weight_error_below,
)
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Verdict

P = ParamSpec("P")
Method = Callable[Concatenate[Audited, P], Verdict]


def bound(check: Method[P]) -> tuple[Method[P], Method[P]]:
    """The two methods of a check: ``check_x``, and ``assert_x``, which raises unless it is PASS."""
    signature = inspect.signature(check)

    @wraps(check)
    def checked(audit: Audited, *args: P.args, **kwargs: P.kwargs) -> Verdict:
        __tracebackhide__ = True
        _check_arguments(check.__name__, signature, audit, *args, **kwargs)
        return check(audit, *args, **kwargs)

    @wraps(check)
    def asserted(audit: Audited, *args: P.args, **kwargs: P.kwargs) -> Verdict:
        __tracebackhide__ = True
        _check_arguments(asserted.__name__, signature, audit, *args, **kwargs)
        return check(audit, *args, **kwargs).require()

    asserted.__name__ = check.__name__.replace("check_", "assert_", 1)
    checked.__qualname__ = f"Audit.{check.__name__}"
    asserted.__qualname__ = f"Audit.{asserted.__name__}"
    asserted.__doc__ = (
        f"As `{check.__name__}`, and raises `GateFailure` unless its verdict is PASS.\n\n"
        f"    {check.__doc__}"
    )
    return cast("Method[P]", checked), cast("Method[P]", asserted)


def _check_arguments(
    name: str, signature: inspect.Signature, *args: object, **kwargs: object
) -> None:
    """Refuse arguments that a check does not have: wrong use, as a wrong value is."""
    __tracebackhide__ = True
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        parameters = list(signature.parameters.values())[1:]
        accepted = signature.replace(
            parameters=[one.replace(annotation=one.empty) for one in parameters],
            return_annotation=signature.empty,
        )
        raise OptionError(f"{name}: {error}: it is called as {name}{accepted}") from None


class BoundChecks:
    """Every check as a pair of methods; `Audit` is one."""

    check_bilipschitz_within, assert_bilipschitz_within = bound(
        bilipschitz_within.check_bilipschitz_within
    )
    check_block_error_below, assert_block_error_below = bound(
        block_error_below.check_block_error_below
    )
    check_colipschitz_above, assert_colipschitz_above = bound(
        colipschitz_above.check_colipschitz_above
    )
    check_colipschitz_retained, assert_colipschitz_retained = bound(
        colipschitz_retained.check_colipschitz_retained
    )
    check_cut_not_read, assert_cut_not_read = bound(cut_not_read.check_cut_not_read)
    check_discriminant_distance_above, assert_discriminant_distance_above = bound(
        discriminant_distance_above.check_discriminant_distance_above
    )
    check_local_colipschitz_above, assert_local_colipschitz_above = bound(
        local_colipschitz_above.check_local_colipschitz_above
    )
    check_margin_above, assert_margin_above = bound(margin_above.check_margin_above)
    check_margin_retained, assert_margin_retained = bound(margin_retained.check_margin_retained)
    check_matches_baseline, assert_matches_baseline = bound(matches_baseline.check_matches_baseline)
    check_metric_bounded, assert_metric_bounded = bound(metric_bounded.check_metric_bounded)
    check_next_token_kept, assert_next_token_kept = bound(next_token_kept.check_next_token_kept)
    check_no_collisions, assert_no_collisions = bound(no_collisions.check_no_collisions)
    check_no_continuation_collisions, assert_no_continuation_collisions = bound(
        no_continuation_collisions.check_no_continuation_collisions
    )
    check_no_new_collisions, assert_no_new_collisions = bound(
        no_new_collisions.check_no_new_collisions
    )
    check_no_repetition_collapse, assert_no_repetition_collapse = bound(
        no_repetition_collapse.check_no_repetition_collapse
    )
    check_not_read_by_reference, assert_not_read_by_reference = bound(
        not_read_by_reference.check_not_read_by_reference
    )
    check_not_recoverable, assert_not_recoverable = bound(not_recoverable.check_not_recoverable)
    check_one_step_distinct, assert_one_step_distinct = bound(
        one_step_distinct.check_one_step_distinct
    )
    check_quantized, assert_quantized = bound(quantized.check_quantized)
    check_same_function, assert_same_function = bound(same_function.check_same_function)
    check_served_as_audited, assert_served_as_audited = bound(
        served_as_audited.check_served_as_audited
    )
    check_served_colipschitz_above, assert_served_colipschitz_above = bound(
        served_colipschitz_above.check_served_colipschitz_above
    )
    check_served_margin_above, assert_served_margin_above = bound(
        served_margin_above.check_served_margin_above
    )
    check_served_no_collisions, assert_served_no_collisions = bound(
        served_no_collisions.check_served_no_collisions
    )
    check_sipit_recovers, assert_sipit_recovers = bound(sipit_recovers.check_sipit_recovers)
    check_stable_along_training, assert_stable_along_training = bound(
        stable_along_training.check_stable_along_training
    )
    check_state_drift_below, assert_state_drift_below = bound(
        state_drift_below.check_state_drift_below
    )
    check_states_recoverable, assert_states_recoverable = bound(
        states_recoverable.check_states_recoverable
    )
    check_utility_kept, assert_utility_kept = bound(utility_kept.check_utility_kept)
    check_weight_error_below, assert_weight_error_below = bound(
        weight_error_below.check_weight_error_below
    )


def _checks() -> dict[str, Callable[..., Verdict]]:
    named = vars(BoundChecks).items()
    return {
        name.removeprefix("check_"): method for name, method in named if name.startswith("check_")
    }


CHECKS: dict[str, Callable[..., Verdict]] = _checks()
"""The checks by name, ``no_collisions`` and so on: each takes an `Audit` and gives a `Verdict`."""


def values_by_layer(check: str) -> tuple[str, ...]:
    """The arguments of a check that take a value for each layer, `PerLayer` in its signature.

    Args:
        check: its name.

    Example:
        >>> values_by_layer("no_collisions"), values_by_layer("stable_along_training")
        (('eps',), ('within',))
    """
    return tuple(
        one.name
        for one in inspect.signature(CHECKS[check]).parameters.values()
        if any(get_origin(given) is Mapping for given in get_args(one.annotation))
    )
