"""Exact searches against ``faiss.knn``, with the kernel that is chosen and without a matrix unit.

States are captured once. Each setting has a process of its own, because oneDNN reads what it may use
when it starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from geometry_faiss import LayerTimes, NearestTimes, layer_times, nearest_times
from machine import machine
from real_tables import alone, markdown, told
from shared_states import MODELS, SharedStates

from pytest_injectivity.geometry.search.kernels import chosen

WITHOUT = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
"""Keeps oneDNN from AMX; float32 products are MKL's, which the variable does not touch."""


@dataclass(frozen=True)
class Asked:
    """The ratios to faiss's time that are asked for."""

    nearest: float
    margins: float
    both: float


WITH_UNIT = Asked(0.2, 0.35, 1.0)
WITHOUT_UNIT = Asked(0.5, 0.6, 1.5)


@dataclass(frozen=True)
class Searched:
    """What one process measured.

    Attributes:
        where: the machine and its kernels.
        unit: whether the chosen kernel is bfloat16 on a processor with a matrix unit.
        nearest: the 8 nearest rows, by states.
        layers: margins and co-Lipschitz constants of all layers, by model.
    """

    where: str
    unit: bool
    nearest: tuple[NearestTimes, ...]
    layers: tuple[LayerTimes, ...]

    @property
    def asked(self) -> Asked:
        """The ratios asked for with this kernel."""
        return WITH_UNIT if self.unit else WITHOUT_UNIT


def searched(folder: Path, runs: int) -> Searched:
    """Measures the states of a folder, in this process.

    Args:
        folder: holds ``nearest`` and ``layers``, saved by `searches`.
        runs: times are medians of so many.
    """
    # This script has written the files itself.
    nearest = torch.load(folder / "nearest", weights_only=True)
    found = [nearest_times(name, states, runs) for name, states in nearest.items()]
    for one in found:
        told(f"{one.states}: {one.ours:.2f} s, faiss {one.theirs:.2f} s, {one.ratio:.3f}")
    layers = []
    for name, (states, ids) in torch.load(folder / "layers", weights_only=True).items():
        layers.append(layer_times(name, states, ids, runs))
        one = layers[-1]
        told(f"{one.model}: margins {one.margin_ratio:.2f}, both {one.both_ratio:.2f} of faiss")
    where = machine()
    # The line names what the environment keeps from oneDNN.
    unit = "amx" in where and "kept to" not in where and chosen().dtype is torch.bfloat16
    return Searched(where, unit, tuple(found), tuple(layers))


def searches(root: Path, runs: int, most: int | None) -> str:
    """The same searches with the kernel that is chosen and without a matrix unit, as tables.

    Args:
        root: the folder of models and prompts.
        runs: times are medians of so many.
        most: prompts taken of the file; None: all, and 100,000 windows of the standard library too.
    """
    shared = SharedStates(root, most)
    nearest = {"prompts-20k": shared.slices()}
    if most is None:
        nearest["windows"] = shared.windows()
    with TemporaryDirectory() as folder:
        torch.save(nearest, Path(folder) / "nearest")
        torch.save({name: shared.layers(name) for name in MODELS}, Path(folder) / "layers")
        settings: tuple[Mapping[str, str], ...] = ({}, WITHOUT)
        found = []
        for one in settings:
            found += tables(alone(searched, Path(folder), runs, environment=one))
            for table in found[-2:]:
                told(table)
    return "\n\n".join(found)


def tables(one: Searched) -> tuple[str, str]:
    """The two tables of one process."""
    with_or_without = "with a matrix unit" if one.unit else "without a matrix unit"
    asked = one.asked
    return (
        markdown(
            f"The 8 nearest rows against `faiss.knn`, {with_or_without}",
            (
                "states",
                "ours",
                "faiss",
                f"ours / faiss (asked: {asked.nearest})",
                "rows searched again",
                "faiss: same sets",
                "met",
            ),
            (
                (
                    times.states,
                    f"{times.ours:.2f} s",
                    f"{times.theirs:.2f} s",
                    f"{times.ratio:.3f}",
                    f"{times.searched_again}",
                    f"{100 * times.same:.1f} %",
                    "yes" if times.ratio <= asked.nearest else "no",
                )
                for times in one.nearest
            ),
            where=one.where,
        ),
        markdown(
            f"All layers against `faiss.knn` (k = 1), {with_or_without}",
            (
                "model",
                "margins",
                "co-Lipschitz",
                "faiss",
                f"margins / faiss (asked: {asked.margins})",
                f"both / faiss (asked: {asked.both})",
                "met",
            ),
            (
                (
                    times.model,
                    f"{times.margins:.2f} s",
                    f"{times.constants:.2f} s",
                    f"{times.theirs:.2f} s",
                    f"{times.margin_ratio:.2f}",
                    f"{times.both_ratio:.2f}",
                    "yes"
                    if times.margin_ratio <= asked.margins and times.both_ratio <= asked.both
                    else "no",
                )
                for times in one.layers
            ),
            where=one.where,
        ),
    )
