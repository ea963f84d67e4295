"""Where a layer's number lies among those of models measured before."""

from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.judging.quantiles import Quantile
from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.results.reference_bag import LayerNumber, reference_bag
from pytest_injectivity.stats import lower_quantile

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.layer import LayerGeometry

_QUANTILES = {0.0: "", 0.01: "_q"}


def bag_lines(
    measured: "Measurements",
    geometry: "LayerGeometry",
    quantity: str,
    values: Float64[np.ndarray, " rows"],
    asked: Quantile,
) -> tuple[str, ...]:
    """A line where the bag has numbers that compare: those of the same prompts, N and quantile.

    Args:
        measured: the measurements of the model.
        geometry: of the layer.
        quantity: ``margin`` or ``colipschitz``.
        values: of the layer's rows, not normalized.
        asked: the quantile.
    """
    quantile, target = _QUANTILES.get(asked.q), measured.target
    if quantile is None or asked.grid is not None or not geometry.mean_norm:
        return ()
    if target.config.length is not None:  # windows of the texts are other prompts
        return ()
    facts = target.facts
    given = LayerNumber(
        prompts=target.prompts.name,
        n=len(target.prompts),
        prompt_metric=target.config.prompt_metric,
        family=facts.family,
        n_layers=facts.n_layers,
        hidden=facts.hidden_size,
        vocab=facts.vocab_size,
        layer=geometry.layer,
        number=f"normalized_{quantity}{quantile}",
        value=lower_quantile(values, asked.q) / geometry.mean_norm,
    )
    said = reference_bag().says(given)
    return () if said is None else (said,)
