"""Summaries of one layer as plain data, and how its numbers fall as prompts are added."""

from pytest_injectivity.audit.keys import TrendKey
from pytest_injectivity.audit.measurements.doubtful_pairs import Doubts
from pytest_injectivity.audit.measurements.layer_certificates import certificate_of
from pytest_injectivity.audit.measurements.layer_states import LayerStates
from pytest_injectivity.audit.measurements.resolutions import Resolutions
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.metrics import MeasuredLayer, measure
from pytest_injectivity.results.summary import LayerSummary, Trend, finite


class LayerSummaries:
    """Builds the summaries of layers that reports show.

    Args:
        states: the layers' states and geometries.
        resolutions: their resolutions.
        doubts: their pairs near the resolution, where they were decided.
    """

    def __init__(self, states: LayerStates, resolutions: Resolutions, doubts: Doubts) -> None:
        self.target = states.target
        self._states = states
        self._resolutions = resolutions
        self._doubts = doubts
        self._trends: dict[Layer, Trend] = {}

    def of(self, layer: int | str, bits: GridLike | None = None) -> LayerSummary:
        """The geometry of a layer as plain data, after activation quantization where bits are given."""
        one = self.target.one_layer(layer)
        self.target.use("prompt_metric")
        grid = None if bits is None else Grid.parse(bits)
        geometry = self._states.geometry(one, bits=grid)
        # Only finite rows are rounded, so lost rows are counted in the layer as it was computed.
        lost = int((~self._states.geometry(one).finite).sum())
        paired = len(geometry) >= 2  # noqa: PLR2004 - a pair is two
        resolution = self._resolutions.of(one) if grid is None else None
        measured = MeasuredLayer(
            geometry if paired else None,
            lost,
            None if resolution is None else finite(resolution.value),
            None if resolution is None else finite(resolution.error),
        )
        return LayerSummary(
            layer=layer_id(one),
            bits=None if grid is None else grid.key,
            n=len(geometry),
            numbers=measure(measured),
            trend=self.trend(one) if paired and grid is None else None,
            scale=grid.source(len(geometry)) if paired and grid is not None else None,
            certificate=None
            if resolution is None
            else certificate_of(geometry, lost, resolution, self._doubts.known(one)),
        )

    def trend(self, layer: int | str) -> Trend:
        """How margin and co-Lipschitz constant fell from N/4 to N/2 to N prompts (SPEC section 2)."""
        one = self.target.one_layer(layer)
        self.target.use("prompt_metric")
        if one not in self._trends:
            from pytest_injectivity.audit.measurements.trend import measure_trend

            self._trends[one] = self.target.remember(
                TrendKey(one, self.target.config.prompt_metric),
                lambda: measure_trend(self._states.geometry(one), self.target.prompts.hashes),
            )
        return self._trends[one]
