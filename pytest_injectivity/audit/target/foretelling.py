"""Foretells long phases of an audit before they begin.

A machine is calibrated, which takes two seconds, only where a phase would be long on a machine that is
slower than any this is run on.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.progress import UNCOUNTED, Silent, Watcher
from pytest_injectivity.results.plan import Phase

if TYPE_CHECKING:
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.models.facts import ModelFacts
    from pytest_injectivity.plan.costs import Costs
    from pytest_injectivity.plan.rates import Rates
    from pytest_injectivity.plan.sizes import Sizes
    from pytest_injectivity.prompts.promptset import PromptSet

_SLOWEST = 0.01  # TFLOP/s


class Predictable(Protocol):
    """The parts of a `Target` that predictions are made from."""

    @property
    def config(self) -> AuditConfig:
        """What is audited and how."""

    @property
    def watcher(self) -> Watcher:
        """Told of long phases."""

    @property
    def facts(self) -> "ModelFacts":
        """Facts on the model."""

    @property
    def prompts(self) -> "PromptSet":
        """The prompt set."""

    @property
    def streams(self) -> bool:
        """Whether the blocks' weights are known to stay on disk."""

    @property
    def decoder(self) -> "Decoder":
        """The model, loaded where the machine is calibrated."""


class Foretelling:
    """Predicts phases of a target, and tells its watcher of those that are long, each once.

    Args:
        target: the model and the prompt set.
    """

    def __init__(self, target: Predictable) -> None:
        self._target = target
        self._told: set[str] = set()

    def before(self, predict: "Callable[[Costs], Phase]") -> None:
        """Tell of a phase that is about to begin, if it is long and was not told of.

        Args:
            predict: predicts the phase; called with assumed rates first.
        """
        if isinstance(self._target.watcher, Silent):
            return
        phase = predict(self.costs(self._assumed))
        if not phase.is_long or phase.name in self._told:
            return
        phase = predict(self.costs(self.rates))
        if phase.is_long:
            self._told.add(phase.name)
            self._target.watcher.foretell(phase.sentence)

    def costs(self, rates: "Rates") -> "Costs":
        """What predicts phases at these rates."""
        from pytest_injectivity.plan.costs import Costs

        target = self._target
        return Costs(
            self.sizes,
            target.prompts.ids,
            rates,
            target.config.batch_tokens,
            streamed=target.streams,
        )

    @cached_property
    def rates(self) -> "Rates":
        """The rates of this machine, measured with the model."""
        from pytest_injectivity.plan.calibration import calibrate
        from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric

        target = self._target
        metric = PromptMetric.parse(target.config.prompt_metric)
        with target.watcher.progress("calibration", UNCOUNTED):
            return calibrate(
                target.decoder,
                PairDistances(metric, target.prompts.ids),
                batch_tokens=target.config.batch_tokens,
            )

    @cached_property
    def sizes(self) -> "Sizes":
        """The sizes of the model."""
        from pytest_injectivity.plan.sizes import Sizes

        facts = self._target.facts
        return Sizes(
            n_layers=facts.n_layers,
            hidden=facts.hidden_size,
            vocab=facts.vocab_size,
            parameters=facts.parameters,
            block_parameters=facts.block_parameters,
            dtype=facts.dtype,
            context=facts.context,
            used_parameters=facts.used_parameters,
        )

    @cached_property
    def _assumed(self) -> "Rates":
        from pytest_injectivity.plan.rates import Rates

        return Rates.assumed(self.sizes, _SLOWEST)
