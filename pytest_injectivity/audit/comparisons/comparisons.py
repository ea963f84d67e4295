"""The comparisons of a run between the model and its reference, and the layers still to be reported.

The reference (``--injx-reference``) is the checkpoint that the model was made from. It is audited on the
same prompts, and its numbers are kept in the same store.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.against import Against
from pytest_injectivity.audit.comparisons.cross_inversion import cross_inversion, cross_reading
from pytest_injectivity.audit.comparisons.new_pairs import decide_together, find_new_collisions
from pytest_injectivity.audit.comparisons.next_token import next_token_of, next_tokens
from pytest_injectivity.audit.comparisons.next_token_by_layer import next_tokens_by_layer
from pytest_injectivity.audit.comparisons.parents import parent_of, parent_target
from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.audit.measurements.recovery import Attempt, recovery_rate
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.text import one_line
from pytest_injectivity.core.tolerances import Tolerance
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.summary import Comparison, CrossReading, Estimate, NextToken

if TYPE_CHECKING:
    from pytest_injectivity.reference.differences import Difference


class Comparisons:
    """The comparisons of a model with its reference.

    Args:
        measurements: the model's measurements.

    Attributes:
        measurements: as given.
        measured_next_token: how near next tokens are to the reference's, as last measured; None where
            they were not.
    """

    def __init__(self, measurements: Measurements) -> None:
        self.measurements = measurements
        self._compared: dict[Layer, None] = {}
        self._untold: dict[Layer, None] = {}
        self._sipit: dict[Layer, tuple[Estimate, Estimate]] = {}
        self._cross: dict[Layer, CrossReading] = {}
        self._weight_errors: dict[Layer, float] = {}
        self._block_errors: dict[Layer, float] = {}
        self._reference: Measurements | None = None
        self.measured_next_token: NextToken | None = None

    @property
    def reference(self) -> Measurements:
        """The measurements of the reference on the same prompts.

        Raises:
            OptionError: no reference is named, or it is no parent of the model: another shape, other
                token ids for the same prompts, or the very same model.
            ModelError: it cannot be audited.
        """
        if self._reference is None:
            self._reference = parent_of(self.measurements.target, self.parent)
        return self._reference

    @cached_property
    def parent(self) -> Target:
        """The reference as it is named: neither compared with the model yet, nor loaded.

        Raises:
            OptionError: no reference is named.
        """
        target = self.measurements.target
        target.use("reference")
        if target.config.reference is None:
            raise OptionError(
                "no reference is named: give --injx-reference=MODEL, or"
                " AuditConfig(reference=...), the full-precision checkpoint that this model was"
                " made from"
            )
        return parent_target(target, target.config.reference)

    @cached_property
    def differences(self) -> "tuple[Difference, ...]":
        """The fields in which the model is another function than its reference; loads no weights.

        Raises:
            OptionError: no reference is named.
            ModelError: a configuration or a tokenizer cannot be read.
        """
        from pytest_injectivity.reference.same_function import function_differences

        checkpoints = self.measurements.target.checkpoint, self.parent.checkpoint
        return function_differences(*checkpoints)

    @property
    def name(self) -> str | None:
        """The name of the reference in reports; None while nothing was compared with it."""
        if self._reference is None:
            return None
        target = self._reference.target
        device = self.measurements.target.kept.device
        return f"{one_line(target.config.model)} ({target.facts.dtype}, {device})"

    def unload(self) -> None:
        """Release the memory of the reference's weights, if it is loaded."""
        if self._reference is not None:
            self._reference.target.unload()

    @property
    def reference_size(self) -> int | None:
        """The bytes of the reference's weights files; None while nothing was compared with it."""
        return None if self._reference is None else self._reference.target.checkpoint.weights.bytes

    @cached_property
    def against(self) -> Against:
        """The numbers of the model compared with its parent."""
        return Against(self.measurements, self.reference)

    @property
    def compared(self) -> tuple[Layer, ...]:
        """The layers that were compared with the parent's."""
        return tuple(self._compared)

    def news(self) -> tuple[Comparison, ...]:
        """The comparisons that are new, or hold more numbers, since the last call."""
        untold = tuple(self._untold)
        if untold:
            decide_together(self.against, dict.fromkeys(untold, Tolerance(0.0)))
        found = tuple(self.of(layer) for layer in untold)
        self._untold.clear()
        return found

    def of(self, layer: int | str) -> Comparison:
        """The comparison of one layer as plain data, with the rates that were measured before.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: no reference is named, or it is no parent of the model.
        """
        one = self.measurements.target.one_layer(layer)
        lost = any(self.against.not_finite(one))
        self.note([one])
        found = None if lost else find_new_collisions(self.against, one, Tolerance(0.0)).count
        return self.against.summary(
            one,
            new_collisions=found,
            sipit=self._sipit.get(one),
            cross=self._cross.get(one),
            weight_error=self._weight_errors.get(one),
            block_error=self._block_errors.get(one),
        )

    def sipit_rates(
        self, layer: int | str, *, prompts: int = 20, tokens: int = 20
    ) -> tuple[Estimate, Estimate]:
        """The rates of prompts that SipIt recovers from the model's states, and from its parent's.

        Args:
            layer: the layer.
            prompts: how many prompts, as in `check_sipit_recovers`.
            tokens: their length.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: no reference is named or it is no parent, or too few prompts are long enough.
        """
        one = self.measurements.target.one_layer(layer)
        attempt = Attempt(0.0, None, prompts, tokens, "lens", 0)
        own, parents = (
            recovery_rate(measured, one, attempt)
            for measured in (self.measurements, self.reference)
        )
        self.note([one], more=True)
        self._sipit[one] = own, parents
        return own, parents

    def cross_inversion(
        self, layer: int | str, *, prompts: int = 20, tokens: int = 20
    ) -> CrossReading:
        """How much somebody who has the parent reads from the model's states (SPEC section 4).

        Args:
            layer: the layer.
            prompts: how many prompts are attacked, drawn by hash from those with enough tokens; the
                drift that the ball allows for is measured on others.
            tokens: their length; longer prompts are cut to it.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: no reference is named or it is no parent, or too few prompts are long enough.
        """
        one = self.measurements.target.one_layer(layer)
        found = cross_reading(cross_inversion(self.against, one, prompts, tokens))
        self.note([one], more=True)
        self._cross[one] = found
        return found

    def next_token(
        self, *, prompts: int = 300, tokens: int = 128, second_half: bool = False
    ) -> NextToken:
        """How near the model's next-token distributions are to its parent's (SPEC section 7).

        Args:
            prompts: how many prompts are read at most, those of smallest hash.
            tokens: how many tokens of each are read at most.
            second_half: compare the second half of each prompt, as llama.cpp's perplexity tool does;
                else all positions from 1 on.

        Raises:
            OptionError: no reference is named or it is no parent, or no prompt is long enough.
        """
        found = next_tokens(self.against, prompts, tokens, second_half=second_half)
        by_layer = next_tokens_by_layer(self.against)
        self.measured_next_token = next_token_of(found, second_half=second_half, by_layer=by_layer)
        return self.measured_next_token

    def add_errors(
        self,
        *,
        weights: Mapping[Layer, float] | None = None,
        blocks: Mapping[Layer, float] | None = None,
    ) -> None:
        """Take errors that a check has measured into the comparisons of their layers.

        A layer that was compared is told again; one that was not is not compared for their sake.

        Args:
            weights: errors of weights, by layer.
            blocks: errors of blocks, by layer.
        """
        weights, blocks = weights or {}, blocks or {}
        self._weight_errors |= weights
        self._block_errors |= blocks
        self.note([one for one in (*weights, *blocks) if one in self._compared], more=True)

    def note(self, layers: Iterable[Layer], *, more: bool = False) -> None:
        """Remember that layers were compared, so that `news` returns them.

        Args:
            layers: the layers.
            more: return them again, because more numbers of them are known.
        """
        self._untold.update(
            dict.fromkeys(one for one in layers if more or one not in self._compared)
        )
        self._compared.update(dict.fromkeys(layers))
