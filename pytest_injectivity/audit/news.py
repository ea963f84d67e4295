"""What an audit has found since it was last asked: a test's report carries it to the controller."""

from collections.abc import Sequence
from typing import NamedTuple

from pytest_injectivity.audit.judging.base import Audited
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
        comparisons: layers held against the reference's, if there is something new of them.
    """

    run: RunSummary | None
    verdicts: tuple[Verdict, ...]
    layers: tuple[LayerSummary, ...]
    releases: tuple[ReleaseSummary, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


class Newsroom:
    """Tells what an audit found, each thing once.

    Args:
        audit: the audit.
        verdicts: those it has reached; the list grows.
    """

    def __init__(self, audit: Audited, verdicts: Sequence[Verdict]) -> None:
        self._audit = audit
        self._reached = verdicts
        self._verdicts = 0
        self._releases = 0
        self._layers: frozenset[tuple[Layer, int | str | None]] = frozenset()

    def news(self) -> News:
        """What was found since the last call."""
        audit = self._audit
        comparisons = audit.comparisons.news()
        verdicts = tuple(self._reached[self._verdicts :])
        measured = audit.measurements.measured
        new = [one for one in measured if one not in self._layers]
        releases = [one.summary(_CONFIDENCE) for one in audit.releases.exposed[self._releases :]]
        if not (verdicts or new or releases or comparisons):
            return News(None, (), ())
        layers = tuple(audit.measurements.layer_summary(layer, bits) for layer, bits in new)
        self._verdicts = len(self._reached)
        self._releases = len(audit.releases.exposed)
        self._layers = frozenset(audit.measurements.measured)
        return News(audit.run_summary(), verdicts, layers, tuple(releases), comparisons)
