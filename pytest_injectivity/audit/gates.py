"""What every gate of an audit shares: its verdict is kept, and its ``assert_`` twin raises it."""

from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from pytest_injectivity.audit.checks.arguments import fraction, optional_confidence, tolerances
from pytest_injectivity.audit.checks.common import with_confidence
from pytest_injectivity.audit.checks.quantiles import Quantile
from pytest_injectivity.audit.measurements import Measurements
from pytest_injectivity.core.layers import Layer, LayerSpec
from pytest_injectivity.core.tolerances import PerLayer, Tolerance, by_layer
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.verdict import Reason, Verdict

_G = TypeVar("_G", bound="Gates")
_P = ParamSpec("_P")
_T = TypeVar("_T")

Judged = tuple[Reason, tuple[float, float]]
"""A layer's reason, and its p-values: that the value passes, that it fails."""


def asserting(
    check: Callable[Concatenate[_G, _P], Verdict],
) -> Callable[Concatenate[_G, _P], Verdict]:
    """The ``assert_`` twin of a check: same arguments, raises unless the verdict is PASS."""

    @wraps(check)
    def asserted(self: _G, *args: _P.args, **kwargs: _P.kwargs) -> Verdict:
        __tracebackhide__ = True
        return check(self, *args, **kwargs).require()

    asserted.__name__ = check.__name__.replace("check_", "assert_", 1)
    asserted.__qualname__ = check.__qualname__.replace("check_", "assert_", 1)
    asserted.__doc__ = (
        f"As `{check.__name__}`, and raises `GateFailure` unless its verdict is PASS.\n\n"
        f"        {check.__doc__}"
    )
    return cast("Callable[Concatenate[_G, _P], Verdict]", asserted)


class Gates(Measurements):
    """What is measured, and the verdicts reached on it.

    ``layer=None`` means the layers of the config, ``"all"`` by default. Every verdict is kept in
    ``verdicts``, in the order it was reached.
    """

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The verdicts reached so far."""
        return []

    def _tolerances(
        self, eps: PerLayer[float | str], layer: LayerSpec | None
    ) -> dict[Layer, Tolerance]:
        return self._by_layer("eps", tolerances(eps), layer)

    def _by_layer(self, name: str, given: PerLayer[_T], layer: LayerSpec | None) -> dict[Layer, _T]:
        return by_layer(name, given, layer, self.n_layers, self.config.layers)

    def _verdict(self, check: str, reasons: Sequence[Reason], notes: Sequence[str] = ()) -> Verdict:
        verdict = Verdict(
            check=check,
            reasons=tuple(reasons),
            subject=self.run_summary().subject,
            reproduce=self.reproduce(),
            notes=tuple(notes),
        )
        self.verdicts.append(verdict)
        return verdict


def settled(judged: Sequence[Judged], confidence: float | None) -> list[Reason]:
    """The reasons as they are judged by point values, or by what the sample proves."""
    reasons = [reason for reason, _ in judged]
    if confidence is None:
        return reasons
    return list(with_confidence(reasons, [p_values for _, p_values in judged], confidence))


def quantile(
    q: float,
    normalized: bool,  # noqa: FBT001 - named at every public call
    confidence: float | None,
    bits: GridLike | None,
) -> Quantile:
    """Which quantile is asked for.

    Raises:
        OptionError: a number is not accepted.
    """
    return Quantile(
        fraction("q", q),
        normalized,
        optional_confidence(confidence),
        None if bits is None else Grid.parse(bits),
    )
