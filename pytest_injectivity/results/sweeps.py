"""Figure data: the points of a sweep as plain numbers, the papers' tables of them, and their JSON."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.results.measured import Measured

SCHEMA = 1
"""Raised when a field of the figure data changes its meaning or goes."""


@dataclass(frozen=True)
class SweepPoint(Measured):
    """One layer of one model on one prompt set: each metric is an attribute by its name.

    Rows that are not finite are left out of every number but their count.

    Attributes:
        model, revision, dtype, n_layers: of the model.
        prompts: the prompt set's name.
        prompt_hash: hash of the set.
        n: prompts of the set; the same for every point of a sweep.
        length: of the windows the texts were cut into; None where they were not cut.
        longest: tokens of the longest prompt, which no prompt distance exceeds.
        prompt_metric: ``d_S`` of the co-Lipschitz constants.
        layer: its id.
        bits: what the captured states were rounded to, as in `LayerSummary`; None where they were not.
        step: of its training, at which the model was written; None where that is not the question.
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
    bits: int | str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep, as a run reports them.

    Attributes:
        name: of the figure, such as ``by length``.
        points: in the order measured.

    Raises:
        OptionError: points of two trainings have one step.
    """

    name: str
    points: tuple[SweepPoint, ...]

    def __post_init__(self) -> None:
        seen: dict[tuple[int, str], str] = {}
        for one in self.points:
            if one.step is None:
                continue
            if (other := seen.setdefault((one.step, one.layer), one.model)) != one.model:
                raise OptionError(
                    f"{self.name}: {other} and {one.model} are both of step {one.step}: give each"
                    " training a sweep of its own"
                )


def table_layers(n_layers: int) -> tuple[int, int, int]:
    """The layers of [N] table 1: the first, the middle and the last."""
    return 1, max(1, n_layers // 2), n_layers


def smallest_distances(points: Iterable[SweepPoint]) -> dict[str, tuple[float | None, ...]]:
    """[N] table 1: by model, the smallest distance of two prompts at layers 1, L/2 and L.

    None where a layer was not measured. Of a sweep over lengths the last length counts.

    Example:
        >>> from pytest_injectivity import AuditConfig, compare_models
        >>> config = AuditConfig(prompts="builtin:random", max_prompts=64, layers="-1", no_cache=True)
        >>> found = smallest_distances(compare_models([config]))
        >>> [distance is not None and distance > 0 for distance in found[config.model]]
        [False, False, True]
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

    Of 8 bits the uniform grid comes first, then e4m3, then e5m2 (`Grid.coarseness`). None where no grid
    has any. Of a sweep over bits of one model.

    Example:
        >>> from pytest_injectivity import AuditConfig, sweep_bits
        >>> config = AuditConfig(prompts="builtin:random", max_prompts=64, layers="-1", no_cache=True)
        >>> first_collisions(sweep_bits(config, [8, 2]))
        {'layer04': 2}
    """
    rounded = [(Grid.parse(point.bits), point) for point in points if point.bits is not None]
    found: dict[str, int | str | None] = dict.fromkeys(point.layer for _, point in rounded)
    for _, point in sorted(rounded, key=lambda one: one[0].coarseness, reverse=True):
        if point.collisions:
            found[point.layer] = point.bits
    return found


def write_figure(path: str | Path, name: str, **data: object) -> None:
    """Writes figure data as JSON, whole or not at all.

    Args:
        path: of the file; its folder is made.
        name: of the figure.
        data: further fields: dataclasses such as points, lists, numbers and texts.

    Raises:
        OSError: the file cannot be written.
        TypeError: something in ``data`` has no JSON form.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "figure.json"
        >>> write_figure(path, "margins", margins=[0.5, 0.25])
        >>> json.loads(path.read_text())["margins"]
        [0.5, 0.25]
    """
    from pytest_injectivity.core.strict_json import plain

    figure = {"schema": SCHEMA, "tool": "pytest-injectivity", "figure": name} | data
    write_whole(path, json.dumps(plain(figure), indent=1, allow_nan=False) + "\n")
