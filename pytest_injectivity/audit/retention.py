"""Checks that hold a quantized model against its full-precision parent, and their ``assert_`` twins.

    audit = Audit(AuditConfig(model="my-4bit", reference="my-model"))
    audit.assert_state_drift_below()
    audit.assert_no_new_collisions()

The parent (``--injx-reference``) is measured on the same prompts, in the same store. Every failing
verdict names the first bad layer in its first line, and the worst below.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_injectivity.audit.against import Against
from pytest_injectivity.audit.checks import arguments
from pytest_injectivity.audit.checks.arguments import (
    REQUIRED,
    at_least,
    at_most,
    count,
    optional_confidence,
    share_at_most,
)
from pytest_injectivity.audit.checks.cross import (
    Attack,
    cross_inversion,
    cross_reading,
    judge_unread,
)
from pytest_injectivity.audit.checks.drift import judge_drift
from pytest_injectivity.audit.checks.new_collisions import find_new_collisions, judge_new_collisions
from pytest_injectivity.audit.checks.recovery import Attempt, judge_recovery
from pytest_injectivity.audit.checks.retained import (
    Limits,
    judge_colipschitz_kept,
    judge_margin_kept,
    off_one,
    worst_note,
)
from pytest_injectivity.audit.gates import Gates, Judged, asserting, quantile, settled
from pytest_injectivity.audit.measurements import Measurements
from pytest_injectivity.audit.parents import parent_of
from pytest_injectivity.core.layers import Layer, LayerSpec
from pytest_injectivity.core.text import one_line
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.summary import Comparison, CrossReading, Estimate, RunSummary
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable


class Retention(Gates):
    """The checks of a model against its parent, and what is measured for them.

    ``layer=None`` means the layers of the config; where a check looks at the embedding too, it says so.
    """

    @cached_property
    def reference(self) -> Measurements:
        """The parent: measured on the same prompts, kept in the same store.

        Raises:
            OptionError: no reference is named, or it is no parent of the model: another shape, other
                token ids for the same prompts, or the very same model.
            ModelError: it cannot be audited.
        """
        if self.config.reference is None:
            raise OptionError(
                "no reference is named: give --injx-reference=MODEL, or AuditConfig(reference=...),"
                " the full-precision checkpoint that this model was made from"
            )
        return parent_of(self, self.config.reference)

    @cached_property
    def against(self) -> Against:
        """What is measured of the model against its parent."""
        return Against(self, self.reference)

    @property
    def compared(self) -> tuple[Layer, ...]:
        """The layers that were held against the parent's."""
        return tuple(self._compared)

    def new_comparisons(self) -> tuple[Comparison, ...]:
        """The layers compared since the last call, and those of which more is known since."""
        untold = tuple(self._untold)
        found = tuple(self.comparison(layer) for layer in untold)
        self._untold.clear()
        return found

    def comparison(self, layer: int | str) -> Comparison:
        """One layer against the parent's as plain data, with the rates that were asked for before.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: no reference is named, or it is no parent of the model.
        """
        one = self.one_layer(layer)
        lost = any(self.against.not_finite(one))
        self._note([one])
        found = None if lost else find_new_collisions(self.against, one, Tolerance(0.0)).count
        return self.against.summary(
            one, new_collisions=found, sipit=self._sipit.get(one), cross=self._cross.get(one)
        )

    def sipit_rates(
        self, layer: int | str, *, prompts: int = 20, tokens: int = 20
    ) -> tuple[Estimate, Estimate]:
        """The rates of prompts that SipIt recovers from the model's states, and from its parent's.

        Args:
            layer: the layer.
            prompts: how many prompts, as in `Assertions.check_sipit_recovers`.
            tokens: their length.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: no reference is named or it is no parent, or too few prompts are long enough.
        """
        one = self.one_layer(layer)
        attempt = Attempt(0.0, None, prompts, tokens, "lens", 0)
        rates = [judge_recovery(measured, one, attempt)[0] for measured in (self, self.reference)]
        own, parents = (
            # States that are not finite have no rate.
            Estimate(None, None, None)
            if rate.interval is None
            else Estimate.of(rate.value, rate.interval)
            for rate in rates
        )
        self._note([one], more=True)
        self._sipit[one] = own, parents
        return own, parents

    def cross_inversion(
        self, layer: int | str, *, prompts: int = 20, tokens: int = 20
    ) -> CrossReading:
        """What somebody who has the parent reads of the model's states (SPEC section 4).

        Args:
            layer: the layer.
            prompts: how many prompts are attacked, drawn by hash from those with enough tokens; the
                drift that the ball allows for is measured on others.
            tokens: their length; longer prompts are cut to it.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: no reference is named or it is no parent, or too few prompts are long enough.
        """
        one = self.one_layer(layer)
        found = cross_reading(cross_inversion(self.against, one, prompts, tokens))
        self._note([one], more=True)
        self._cross[one] = found
        return found

    def check_state_drift_below(
        self,
        layer: LayerSpec | None = None,
        relative: PerLayer[float] = REQUIRED,
        *,
        q: float = 0.01,
    ) -> Verdict:
        """The model's states lie near its parent's: ``||h - h'|| / ||h'||``, h' the parent's.

        Args:
            layer: the layers judged; None: layer 0 and those of the config.
            relative: the largest drift accepted.
            q: the share of prompts, those that drift most, that is left out; 0 judges the largest.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number is not accepted, no reference is named, or it is no parent.
        """
        q = arguments.fraction("q", q)
        bounds = self._by_layer(
            "relative", at_most("relative", relative), self._with_embedding(layer, relative)
        )
        return self._held_against(
            "state_drift_below",
            bounds,
            lambda one: judge_drift(self.against, one, bounds[one], q),
            lambda reason: reason.value,
        )

    def check_no_new_collisions(
        self, layer: LayerSpec | None = None, eps: PerLayer[float | str] = 0.0
    ) -> Verdict:
        """No two prompts collide that the parent tells apart.

        What is a collision, unresolved or near is that of `Assertions.check_no_collisions`, in each
        model at its own noise floor. At layer 0 all rows of the input embedding are compared.

        Args:
            layer: the layers judged; None: layer 0 and those of the config.
            eps: absolute, or ``"1e-5 rel"`` of each model's mean norm; below the noise floor it is
                decided at the noise floor (SPEC section 2).

        Raises:
            LayerError: the model has no such layer.
            OptionError: eps is not accepted, no reference is named, or it is no parent.
        """
        tolerances = self._tolerances(eps, self._with_embedding(layer, eps))
        return self._held_against(
            "no_new_collisions",
            tolerances,
            lambda one: judge_new_collisions(self.against, one, tolerances[one]),
            lambda reason: reason.value,
        )

    def check_margin_retained(
        self,
        layer: LayerSpec | None = None,
        fraction: PerLayer[float] = REQUIRED,
        *,
        at_most: float | None = None,
        q: float = 0.01,
        normalized: bool = False,
        confidence: float | None = None,
    ) -> Verdict:
        """The separation margin ``m_{l,q}`` is neither much less nor much more than the parent's.

        Args:
            layer: the layers judged.
            fraction: the least share of the parent's margin that is accepted, above 0.
            at_most: the largest; None: ``1 / fraction``; ``math.inf``: none.
            q: the lower quantile of nearest-neighbour distances; 0 is their minimum.
            normalized: of margins divided by each model's mean norm.
            confidence: judge what the sample proves instead of the point value.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number is not accepted, no reference is named, or it is no parent.
        """
        asked = quantile(q, normalized, confidence, None)
        limits = self._limits(fraction, at_most, layer)
        return self._retained(
            "margin_retained",
            [judge_margin_kept(self.against, one, limits[one], asked) for one in limits],
            limits,
            confidence,
        )

    def check_colipschitz_retained(
        self,
        layer: LayerSpec | None = None,
        fraction: PerLayer[float] = REQUIRED,
        *,
        at_most: float | None = None,
        q: float = 0.01,
        normalized: bool = False,
        confidence: float | None = None,
    ) -> Verdict:
        """The co-Lipschitz constant ``alpha_{l,q}`` is neither much less nor more than the parent's.

        Args:
            layer: the layers judged.
            fraction: the least share of the parent's constant that is accepted, above 0.
            at_most: the largest; None: ``1 / fraction``; ``math.inf``: none.
            q: the lower quantile of the rows' smallest ratios; 0 is their minimum.
            normalized: of constants divided by each model's mean norm.
            confidence: judge what the sample proves instead of the point value.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number is not accepted, no reference is named, it is no parent, or fewer
                than two prompts have an admissible partner.
        """
        asked = quantile(q, normalized, confidence, None)
        limits = self._limits(fraction, at_most, layer)
        return self._retained(
            "colipschitz_retained",
            [judge_colipschitz_kept(self.against, one, limits[one], asked) for one in limits],
            limits,
            confidence,
        )

    def check_not_read_by_reference(
        self,
        layer: LayerSpec | None = None,
        max_rate: PerLayer[float] = REQUIRED,
        *,
        prompts: int = 20,
        tokens: int = 20,
        confidence: float | None = 0.95,
    ) -> Verdict:
        """Somebody who has the parent reads at most this share of tokens from the model's states.

        Of two attacks (`cross_inversion`) the upper limit of the one that read more is judged. A pass
        says that these two read little, and is no proof that nobody can.

        Args:
            layer: the layers judged; None: those of the config.
            max_rate: the largest share of tokens read that is accepted.
            prompts: how many prompts are attacked; 20 of which nothing is read bound the rate at 0.17.
            tokens: their length.
            confidence: of the upper limit; None: the point value is judged.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number is not accepted, no reference is named or it is no parent, or too few
                prompts are long enough.
        """
        attack = Attack(
            count("prompts", prompts), count("tokens", tokens), optional_confidence(confidence)
        )
        rates = (
            {spec: share_at_most("max_rate", one) for spec, one in max_rate.items()}
            if isinstance(max_rate, Mapping)
            else share_at_most("max_rate", max_rate)
        )
        bounds = self._by_layer("max_rate", rates, layer)

        def judged(one: Layer) -> Reason:
            reason = judge_unread(self.against, one, bounds[one], attack)
            if math.isfinite(reason.value):
                self.cross_inversion(one, prompts=prompts, tokens=tokens)
            return reason

        return self._held_against(
            "not_read_by_reference", bounds, judged, lambda reason: reason.value
        )

    assert_state_drift_below = asserting(check_state_drift_below)
    assert_no_new_collisions = asserting(check_no_new_collisions)
    assert_margin_retained = asserting(check_margin_retained)
    assert_colipschitz_retained = asserting(check_colipschitz_retained)
    assert_not_read_by_reference = asserting(check_not_read_by_reference)

    def run_summary(self) -> RunSummary:
        """What was audited, and against what."""
        summary = super().run_summary()
        if "reference" not in self.__dict__:
            return summary
        facts = self.reference.facts
        named = f"{one_line(self.reference.config.model)} ({facts.dtype}, {summary.device})"
        return replace(summary, reference=named)

    @cached_property
    def _compared(self) -> dict[Layer, None]:
        return {}

    @cached_property
    def _untold(self) -> dict[Layer, None]:
        return {}

    def _note(self, layers: Iterable[Layer], *, more: bool = False) -> None:
        """Layers were compared: tell of new ones, and of others where more of them is known."""
        self._untold.update(
            dict.fromkeys(one for one in layers if more or one not in self._compared)
        )
        self._compared.update(dict.fromkeys(layers))

    @cached_property
    def _sipit(self) -> dict[Layer, tuple[Estimate, Estimate]]:
        return {}

    @cached_property
    def _cross(self) -> dict[Layer, CrossReading]:
        return {}

    def _with_embedding(self, layer: LayerSpec | None, given: object) -> LayerSpec | None:
        if layer is None and not isinstance(given, Mapping):
            return f"0,{self.config.layers}"
        return layer

    def _limits(
        self, fraction: PerLayer[float], at_most: float | None, layer: LayerSpec | None
    ) -> dict[Layer, Limits]:
        fractions = self._by_layer("fraction", at_least("fraction", fraction), layer)
        return {one: Limits.of(share, at_most) for one, share in fractions.items()}

    def _retained(
        self,
        check: str,
        judged: Sequence[Judged],
        limits: Mapping[Layer, Limits],
        confidence: float | None,
    ) -> Verdict:
        self._note(limits)
        reasons = settled(judged, confidence)
        return self._verdict(check, reasons, self._notes(reasons, off_one))

    def _held_against(
        self,
        check: str,
        layers: Mapping[Layer, object],
        judged: "Callable[[Layer], Reason]",
        badness: "Callable[[Reason], float]",
    ) -> Verdict:
        reasons = [judged(one) for one in layers]
        self._note(layers)
        return self._verdict(check, reasons, self._notes(reasons, badness))

    def _notes(self, reasons: Sequence[Reason], badness: "Callable[[Reason], float]") -> list[str]:
        return [*worst_note(reasons, badness), f"against {self.run_summary().reference}"]
