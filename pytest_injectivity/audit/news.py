"""The findings of an audit since the last call, which a test's report carries to the main process."""

from collections.abc import Sequence
from typing import NamedTuple

from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.results.releases import ReleaseSummary
from pytest_injectivity.results.summary import Comparison, LayerSummary, NextToken, RunSummary
from pytest_injectivity.results.sweeps import Sweep
from pytest_injectivity.results.verdict import Verdict

# The level of the intervals in the table of releases.
_CONFIDENCE = 0.95


class News(NamedTuple):
    """The findings of an audit since the last call.

    Attributes:
        run: the summary of the run; None where nothing is new.
        verdicts: the new verdicts.
        layers: the summaries of newly measured layers.
        releases: the summaries of newly measured releases.
        comparisons: the comparisons of layers that are new or hold more numbers.
        sweeps: those that were handed to the reports.
    """

    run: RunSummary | None
    verdicts: tuple[Verdict, ...]
    layers: tuple[LayerSummary, ...]
    releases: tuple[ReleaseSummary, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    sweeps: tuple[Sweep, ...] = ()


class Newsroom:
    """Collects the findings of an audit and returns each of them once.

    Args:
        audit: the audit.
        verdicts: the verdicts that the audit has reached; the audit appends to this list.
        sweeps: those that were handed to the reports, likewise.
    """

    def __init__(
        self, audit: Audited, verdicts: Sequence[Verdict], sweeps: Sequence[Sweep] = ()
    ) -> None:
        self._audit = audit
        self._reached = verdicts
        self._swept = sweeps
        self._verdicts = 0
        self._sweeps = 0
        self._releases = 0
        self._next_token: NextToken | None = None
        self._layers: frozenset[tuple[Layer, int | str | None, bool]] = frozenset()

    def news(self) -> News:
        """The findings since the last call."""
        audit = self._audit
        comparisons = audit.comparisons.news()
        verdicts = tuple(self._reached[self._verdicts :])
        measured = self._measured
        new = [one for one in measured if one not in self._layers]
        releases = [one.summary(_CONFIDENCE) for one in audit.releases.exposed[self._releases :]]
        next_token = audit.comparisons.measured_next_token
        compared = comparisons or next_token != self._next_token
        sweeps = tuple(self._swept[self._sweeps :])
        self._sweeps = len(self._swept)
        if not (verdicts or new or releases or compared):
            return News(None, (), (), sweeps=sweeps)
        layers = tuple(audit.measurements.layer_summary(layer, bits) for layer, bits, _ in new)
        self._verdicts = len(self._reached)
        self._next_token = next_token
        self._releases = len(audit.releases.exposed)
        self._layers = frozenset(self._measured)
        return News(audit.run_summary(), verdicts, layers, tuple(releases), comparisons, sweeps)

    @property
    def _measured(self) -> tuple[tuple[Layer, int | str | None, bool], ...]:
        """The layers measured, on which grid, and whether their pairs near the resolution are decided.

        A layer whose pairs are decided by a later test is told again.
        """
        measured = self._audit.measurements
        decided = measured.decided
        return tuple(
            (layer, bits, bits is None and layer in decided) for layer, bits in measured.measured
        )
