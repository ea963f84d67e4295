"""Geometry against what a user would do instead, side by side in one process.

    ./dev bench geometry --shared ../shared                # all but the million rows and the GPU
    ./dev bench geometry --shared ../shared neighbors pairs
    ./dev bench geometry --shared ../shared million        # one million rows, several minutes
    ./dev bench geometry --shared ../shared --prompts 6000 neighbors layers    # a minute
    ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 ./dev bench ...    # as on a processor without AMX

Real states: the layers of a small trained model side by side, on windows of the standard library and
on a file of prompts. Times are medians of alternating runs on the same number of threads; ratios are
of times measured in the same process. Every time stands beside a check that the answers agree.
"""

import argparse
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import faiss
import numpy as np
import torch
from geometry_continuations import continuations
from geometry_faiss import layer_times, nearest_times
from shared_states import MODELS, STATES_OF, SharedStates
from side_by_side import medians, table
from torch import Tensor

from pytest_injectivity.geometry.distances import row_norms
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.approximate import approximate_neighbors
from pytest_injectivity.geometry.search.near_pairs import pairs_within
from pytest_injectivity.geometry.search.neighbors import k_nearest, nearest_neighbors
from pytest_injectivity.geometry.search.precision import precision_of
from pytest_injectivity.states.capture import capture

K = 8


def neighbors(shared: SharedStates, runs: int) -> None:
    """K = 8 nearest rows against faiss.knn."""
    found = [nearest_times("prompts-20k", shared.slices(), runs)]
    if shared.most is None:
        found.append(nearest_times("windows", shared.windows(), runs))
    table(
        "k = 8 nearest rows",
        ("states", "ours", "faiss", "ratio", "searched again", "faiss: same sets", "off by / norm"),
        (
            (
                one.states,
                f"{one.ours:.2f} s",
                f"{one.theirs:.2f} s",
                f"{one.ratio:.3f}",
                f"{one.searched_again}",
                f"{100 * one.same:.1f} %",
                f"{one.off:.1e}",
            )
            for one in found
        ),
    )


def planted(shared: SharedStates, runs: int) -> None:  # noqa: ARG001 - one signature for all
    """Near-duplicates planted among real states of a norm, in a coordinate of magnitude below 1."""
    apart = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
    rows = []
    for norm in (1.0, 100.0, 1000.0):
        states = shared.slices()[:, :512].clone()
        states *= norm / states.norm(dim=1, keepdim=True)
        states[:, 0] = torch.linspace(-0.9, 0.9, len(states))
        for at, one in enumerate(apart):
            states[-1 - at] = states[at]
            states[-1 - at, 0] += one
        truth = [
            float((states[-1 - at].double() - states[at].double()).norm())
            for at in range(len(apart))
        ]
        found = nearest_neighbors(states)
        squared, index = faiss.knn(states.numpy(), states.numpy(), 2)
        for at, one in enumerate(apart):
            partner = len(states) - 1 - at
            theirs = squared[at][index[at] != at]
            rows.append(
                (
                    f"{norm:g}",
                    f"{one:g}",
                    f"{truth[at]:.3e}",
                    f"{found.distance[at]:.3e}" if found.index[at] == partner else "missed",
                    f"{np.sqrt(max(theirs[0], 0)):.3e}" if partner in index[at] else "missed",
                )
            )
    table(
        "planted near-duplicates",
        ("row norm", "planted", "true distance", "ours", "faiss.knn"),
        rows,
    )


def pairs(shared: SharedStates, runs: int) -> None:
    """Pairs within eps against a full search for neighbors, and against brute force."""
    rows = []
    for name, states, relative in (
        ("windows", shared.windows(), 1e-6),
        ("builtin:challenge", shared.challenge(), 1e-3),
    ):
        eps = relative * float(row_norms(states).mean())
        ours, full = medians(
            [lambda s=states, e=eps: pairs_within(s, e), lambda s=states: k_nearest(s, 1)], runs
        )
        some = states[:20_000]
        counted = pairs_within(some, eps).count
        if counted != (expected := brute_force(some, eps)):
            raise RuntimeError(f"{counted} pairs, brute force counts {expected}")
        rows.append(
            (
                f"{name} {len(states)} x {states.shape[1]}",
                f"{relative:g}",
                f"{pairs_within(states, eps).count}",
                f"{ours:.3f} s",
                f"{full:.2f} s",
                f"{full / ours:.0f}x",
                f"{counted} = {expected}",
            )
        )
    table(
        "pairs within eps",
        (
            "states",
            "eps / norm",
            "pairs",
            "ours",
            "k = 1 search",
            "faster",
            "first 20,000: brute force",
        ),
        rows,
    )


def brute_force(states: Tensor, eps: float) -> int:
    """Pairs within eps by float64 subtraction of all pairs, without a shortcut."""
    wide, count = states.double(), 0
    for at in range(0, len(wide), 64):
        apart = torch.cdist(wide[at : at + 64], wide, compute_mode="donot_use_mm_for_euclid_dist")
        count += int((apart <= eps).sum())
    return (count - len(wide)) // 2


def layers(shared: SharedStates, runs: int) -> None:
    """Collisions, margins, near map and co-Lipschitz constants of all layers against faiss.knn."""
    rows = []
    for name in MODELS:
        start = time.perf_counter()
        states, ids = shared.layers(name)
        captured = time.perf_counter() - start
        one = layer_times(name, states, ids, runs)
        rows.append(
            (
                one.model,
                f"{one.margins:.2f} s",
                f"{one.constants:.2f} s",
                f"{one.theirs:.2f} s",
                f"{one.margin_ratio:.2f}",
                f"{one.both_ratio:.2f}",
                f"{100 * one.edited:.3f} %",
                f"{captured:.1f} s",
            )
        )
    table(
        "geometry of all layers, prompts-20k",
        (
            "model",
            "margins",
            "co-Lipschitz",
            "faiss.knn",
            "margins / faiss",
            "both / faiss",
            "edit distances",
            "capture",
        ),
        rows,
    )


def million(shared: SharedStates, runs: int) -> None:  # noqa: ARG001 - one run takes minutes
    """One million random windows at d = 128: the index, its recall, its memory."""
    prompts = shared.prompts("builtin:random", length=8, max_prompts=1_000_000)
    states = capture(shared.decoder(STATES_OF), prompts.ids, (4,)).rows[4]
    start = time.perf_counter()
    found = approximate_neighbors(states)
    taken = time.perf_counter() - start
    if found.recall is None:
        raise RuntimeError("the index did not say what it found")
    table(
        "one million rows",
        ("states", "index", "recall", "peak memory"),
        [
            (
                f"{len(states)} x {states.shape[1]}",
                f"{taken:.0f} s",
                f"{found.recall.found} of {found.recall.sample}",
                f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB",
            )
        ],
    )


def equal(shared: SharedStates, runs: int) -> None:
    """Exact collisions by hashing against a sort of all rows."""
    states = shared.windows()
    ours, theirs = medians(
        [lambda: EqualRows.of(states), lambda: np.unique(states.numpy(), axis=0)], runs
    )
    table(
        "exact collisions",
        ("states", "ours", "numpy.unique", "faster"),
        [
            (
                f"{len(states)} x {states.shape[1]}",
                f"{ours:.3f} s",
                f"{theirs:.2f} s",
                f"{theirs / ours:.0f}x",
            )
        ],
    )


def gpu(shared: SharedStates, runs: int) -> None:  # noqa: ARG001 - its rows are random
    """100,000 x 4,096 on a GPU: neighbors beside the product alone."""
    if not torch.cuda.is_available():
        raise RuntimeError("there is no GPU on this machine")
    generator = torch.Generator("cuda").manual_seed(0)
    states = torch.randn(100_000, 4096, device="cuda", generator=generator)

    def product() -> None:
        with precision_of(torch.bfloat16):
            for start in range(0, len(states), 8192):
                _ = states[start : start + 8192] @ states[start:].T
        torch.cuda.synchronize()

    ours, alone = medians([lambda: k_nearest(states, 1), product], runs)
    work = 2 * len(states) ** 2 / 2 * states.shape[1] / 1e12
    table(
        f"on {torch.cuda.get_device_name()}",
        ("states", "neighbors", "TFLOP/s", "product alone", "TFLOP/s"),
        [
            (
                f"{len(states)} x {states.shape[1]}",
                f"{ours:.2f} s",
                f"{work / ours:.0f}",
                f"{alone:.2f} s",
                f"{work / alone:.0f}",
            )
        ],
    )


PARTS = {
    part.__name__: part
    for part in (neighbors, planted, pairs, equal, layers, continuations, million, gpu)
}


APART = ("million", "gpu")
"""Parts that run only when they are named."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "parts", nargs="*", help=f"of {', '.join(PARTS)}; all but {' and '.join(APART)} by default"
    )
    parser.add_argument(
        "--shared", type=Path, required=True, help="folder with models/ and prompts/"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, help="of the file of prompts; no windows then")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    shared = SharedStates(arguments.shared, arguments.prompts)
    for part in arguments.parts or [name for name in PARTS if name not in APART]:
        PARTS[part](shared, arguments.runs)


if __name__ == "__main__":
    main()
