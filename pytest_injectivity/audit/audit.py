"""The audit of one model on one prompt set: the object that tests, scripts and notebooks use.

    from pytest_injectivity import Audit, AuditConfig

    audit = Audit(AuditConfig(model="checkpoints/my-4bit", prompts="prompts.jsonl"))
    audit.assert_no_collisions("all", eps=1e-6)
    print(audit.check_margin_above(-1, 1e-2, normalized=True).text)

Nothing is loaded until it is needed, and nothing is computed twice.
"""

from dataclasses import replace
from typing import NamedTuple

from pytest_injectivity.audit.assertions import Assertions
from pytest_injectivity.audit.baseline_files import Baselines
from pytest_injectivity.audit.retention import Retention
from pytest_injectivity.audit.sharing import Sharing
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.results.releases import ReleaseSummary
from pytest_injectivity.results.summary import Comparison, LayerSummary, RunSummary
from pytest_injectivity.results.verdict import Verdict

# Of the intervals in the table of releases.
_CONFIDENCE = 0.95


class News(NamedTuple):
    """What an audit has found since it was last asked.

    Attributes:
        run: what is audited; None while no prompt has been run.
        verdicts: new verdicts.
        layers: the layers measured, if there are new ones among them.
        releases: what was measured of releases, likewise.
        comparisons: layers held against the parent's, if there is something new of them.
    """

    run: RunSummary | None
    verdicts: tuple[Verdict, ...]
    layers: tuple[LayerSummary, ...]
    releases: tuple[ReleaseSummary, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


class Audit(Assertions, Retention, Baselines, Sharing):
    """A model, a prompt set, what is measured of them, and the checks that decide.

    Args and attributes are those of `Measurements`; the checks are those of `Assertions`.
    """

    _told_verdicts = 0
    _told_layers: frozenset[tuple[Layer, int | str | None]] = frozenset()
    _told_releases = 0
    _main: "Audit | None" = None

    def in_precision(self, *, dtype: str = "auto", quantization: str | None = None) -> "Audit":
        """The same checkpoint in another precision, held against the parent: itself where none is named.

        Prompts, store and prompt names are shared, and its verdicts are told with this audit's.

        Args:
            dtype: what it computes in, as in the config.
            quantization: what it is quantized to while it is loaded, as in the config.

        Raises:
            OptionError: a value is not accepted.
        """
        config = replace(
            self.config,
            dtype=dtype,
            quantization=quantization,
            reference=self.config.reference or self.config.model,
        )
        process = self.process
        if config.no_cache:
            process["scratch"] = self._kept.store.folder
        other = Audit(config, **process)
        other.prompts = self.prompts
        other.__dict__["verdicts"] = self.verdicts
        other._main = self
        return other

    def reproduce(self) -> str:
        """The command that repeats this audit; what was made of another is made again by its test."""
        return super().reproduce() if self._main is None else self._main.reproduce()

    def news(self) -> News:
        """What was found since the last call: a test's report carries it to the controller."""
        comparisons = self.new_comparisons()
        verdicts = tuple(self.verdicts[self._told_verdicts :])
        new = [measured for measured in self.measured if measured not in self._told_layers]
        releases = [one.summary(_CONFIDENCE) for one in self.exposed[self._told_releases :]]
        if not (verdicts or new or releases or comparisons):
            return News(None, (), ())
        layers = tuple(self.layer_summary(layer, bits) for layer, bits in new)
        self._told_verdicts = len(self.verdicts)
        self._told_releases = len(self.exposed)
        self._told_layers = frozenset(self.measured)
        return News(self.run_summary(), verdicts, layers, tuple(releases), comparisons)
