"""Figure data: the points of a sweep as plain numbers, the papers' tables of them, and their JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.quantization.grid import Grid

SCHEMA = 1
"""Raised when a field of the figure data changes its meaning or goes."""


@dataclass(frozen=True)
class SweepPoint:
    """One layer of one model on one prompt set (SPEC section 2); None where it was not measured.

    Attributes:
        model, revision, dtype, n_layers: of the model.
        prompts: the prompt set's name.
        prompt_hash: hash of the set.
        n: prompts of the set; the same for every point of a sweep.
        length: of the windows the texts were cut into; None where they were not cut.
        longest: tokens of the longest prompt, which no prompt distance exceeds.
        prompt_metric: ``d_S`` of the co-Lipschitz constants.
        layer: its id.
        not_finite: rows with a NaN or an infinity, left out of every number.
        collisions: pairs of rows equal in every coordinate.
        mean_norm, median_norm: of the rows.
        margin, margin_q: separation margin, minimum (the smallest pair distance) and 1 % quantile.
        colipschitz, colipschitz_q: co-Lipschitz constant, minimum and 1 % quantile.
        noise: the noise floor; rounded states have none.
        bits: what the captured states were rounded to, as in `LayerSummary`; None where they were not.
        near_fractions: fraction of pairs within each tolerance of the ladder ([VS] figure 5).
    """

    model: str
    revision: str | None
    dtype: str
    n_layers: int
    prompts: str
    prompt_hash: str
    n: int
    length: int | None
    longest: int
    prompt_metric: str
    layer: str
    not_finite: int
    collisions: int | None
    mean_norm: float | None
    median_norm: float | None
    margin: float | None
    margin_q: float | None
    colipschitz: float | None
    colipschitz_q: float | None
    noise: float | None
    bits: int | str | None = None
    near_fractions: dict[str, float] | None = None

    def normalized(self, quantity: str) -> float | None:
        """``margin``, ``margin_q``, ``colipschitz`` or ``colipschitz_q`` over the mean norm."""
        value: float | None = getattr(self, quantity)
        return None if value is None or not self.mean_norm else value / self.mean_norm

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, the normalised values beside the raw ones."""
        quantities = ("margin", "margin_q", "colipschitz", "colipschitz_q")
        return asdict(self) | {f"normalized_{one}": self.normalized(one) for one in quantities}


def table_layers(n_layers: int) -> tuple[int, int, int]:
    """The layers of [N] table 1: the first, the middle and the last."""
    return 1, max(1, n_layers // 2), n_layers


def smallest_distances(points: Iterable[SweepPoint]) -> dict[str, tuple[float | None, ...]]:
    """[N] table 1: by model, the smallest distance of two prompts at layers 1, L/2 and L.

    None where a layer was not measured. Of a sweep over lengths the last length counts.
    """
    found = {(point.model, point.layer): point for point in points}
    depths = {point.model: table_layers(point.n_layers) for point in found.values()}
    return {
        model: tuple(
            point.margin if (point := found.get((model, layer_id(layer)))) else None
            for layer in layers
        )
        for model, layers in depths.items()
    }


def first_collisions(points: Iterable[SweepPoint]) -> dict[str, int | str | None]:
    """[VS] figure 4: by layer, the first grid with collisions on the way from many bits to few.

    None where no grid has any. Of a sweep over bits of one model.
    """
    rounded = [(Grid.parse(point.bits).bits, point) for point in points if point.bits is not None]
    found: dict[str, int | str | None] = dict.fromkeys(point.layer for _, point in rounded)
    for _, point in sorted(rounded, key=lambda one: one[0]):
        if point.collisions:
            found[point.layer] = point.bits
    return found


def write_figure(path: Path, name: str, **data: object) -> None:
    """Writes figure data as JSON, whole or not at all.

    Args:
        path: of the file; its folder is made.
        name: of the figure.
        data: further fields; points become plain data.

    Raises:
        OSError: the file cannot be written.
        ValueError: a number is not finite, which JSON does not have.
    """
    figure = {"schema": SCHEMA, "tool": "pytest-injectivity", "figure": name} | data
    write_whole(path, json.dumps(figure, indent=1, allow_nan=False, default=_plain) + "\n")


def _plain(value: object) -> object:
    if isinstance(value, SweepPoint):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} is no figure data: give points, numbers and texts")
