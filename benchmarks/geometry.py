"""Geometry against what a user would do instead, side by side in one process.

    ./dev bench geometry --shared ../shared                # all but the million rows and the GPU
    ./dev bench geometry --shared ../shared neighbours pairs
    ./dev bench geometry --shared ../shared million        # one million rows, several minutes

Real states: the layers of a small trained model side by side, on windows of the standard library and
on a file of prompts. Times are medians of alternating runs on the same number of threads; ratios are
of times measured in the same process. Every time stands beside a check that the answers agree.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import faiss
import numpy as np
import torch
from side_by_side import medians, table
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.geometry.distances import row_norms
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.layer import LayerGeometry
from pytest_injectivity.geometry.search.approximate import approximate_neighbours
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.geometry.search.near_pairs import pairs_within
from pytest_injectivity.geometry.search.neighbours import k_nearest, nearest_neighbours
from pytest_injectivity.geometry.search.precision import precision_of
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.states.capture import capture

MODELS = ("gpt2-1m", "qwen3-1m", "stories260k-llama")
STATES_OF = "gpt2-1m"
WINDOWS = 100_000
WINDOW_TOKENS = 20
K = 8


class Shared:
    """Models and prompts of a folder, and states computed from them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cache  # noqa: B019 - one instance, for the length of the process
    def decoder(self, name: str) -> Decoder:
        """A model of the folder."""
        return load_decoder(str(self.root / "models" / name))

    def prompts(self, source: str, name: str = STATES_OF, **settings: int) -> PromptSet:
        """Prompts for a model; a file of the folder, or a built-in set."""
        decoder = self.decoder(name)
        path = self.root / "prompts" / source
        return load_prompts(
            str(path) if path.exists() else source,
            decoder.tokenizer,
            overlong="drop",
            context=decoder.context,
            vocab_size=decoder.vocab_size,
            **settings,
        )

    @cache  # noqa: B019 - as above
    def windows(self) -> Tensor:
        """Four layers side by side on windows of the standard library: 100,000 x 512."""
        prompts = self.prompts("builtin:stdlib", length=WINDOW_TOKENS, max_prompts=WINDOWS)
        return self._side_by_side(prompts.ids, (1, 2, 3, 4))

    @cache  # noqa: B019 - as above
    def slices(self) -> Tensor:
        """Three layers at the last token and at the middle one side by side: 20,000 x 768."""
        ids = self.prompts("prompts-20k.jsonl").ids
        halves = [prompt[: max(1, len(prompt) // 2)] for prompt in ids]
        layers: tuple[Layer, ...] = (2, 4, "norm")
        return torch.cat([self._side_by_side(one, layers) for one in (ids, halves)], dim=1)

    @cache  # noqa: B019 - as above
    def challenge(self) -> Tensor:
        """As the windows, of near-duplicates: 100,000 x 512."""
        prompts = self.prompts("builtin:challenge", max_prompts=WINDOWS)
        return self._side_by_side(prompts.ids, (1, 2, 3, 4))

    def _side_by_side(self, ids: Sequence[Sequence[int]], layers: Sequence[Layer]) -> Tensor:
        rows = capture(self.decoder(STATES_OF), ids, layers).rows
        return torch.cat([rows[layer] for layer in layers], dim=1)


def neighbours(shared: Shared, runs: int) -> None:
    """K = 8 nearest rows against faiss.knn, which returns the row itself too."""
    rows = []
    for name, states in (("prompts-20k", shared.slices()), ("windows", shared.windows())):
        array = states.numpy()
        ours, theirs = medians(
            [lambda s=states: k_nearest(s, K), lambda a=array: faiss.knn(a, a, K + 1)],
            runs if len(states) < WINDOWS / 2 else 1,
        )
        found = k_nearest(states, K)
        squared, index = faiss.knn(array[:2000], array, K + 1)
        same = np.mean(
            [set(row[row != at][:K]) == set(found.index[at]) for at, row in enumerate(index)]
        )
        norm = float(row_norms(states).mean())
        off = np.abs(np.sqrt(np.maximum(squared[:, 1], 0)) - found.distance[:2000, 0]).max() / norm
        rows.append(
            (
                f"{name} {len(states)} x {states.shape[1]}",
                f"{ours:.2f} s",
                f"{theirs:.2f} s",
                f"{ours / theirs:.3f}",
                f"{found.searched_again}",
                f"{100 * same:.1f} %",
                f"{off:.1e}",
            )
        )
    table(
        "k = 8 nearest rows",
        ("states", "ours", "faiss", "ratio", "searched again", "faiss: same sets", "off by / norm"),
        rows,
    )


def planted(shared: Shared, runs: int) -> None:  # noqa: ARG001 - one signature for all
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
        found = nearest_neighbours(states)
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


def pairs(shared: Shared, runs: int) -> None:
    """Pairs within eps against a full search for neighbours, and against brute force."""
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


def layers(shared: Shared, runs: int) -> None:
    """Collisions, margins, near map and co-Lipschitz constants of all layers against faiss.knn."""
    rows = []
    for name in MODELS:
        prompts = shared.prompts("prompts-20k.jsonl", name)
        decoder = shared.decoder(name)
        start = time.perf_counter()
        states = capture(decoder, prompts.ids, decoder.layers).rows
        captured = time.perf_counter() - start
        metric = PairDistances(PromptMetric.LEVENSHTEIN, prompts.ids)
        looked_at: list[int] = []

        def margins(states: dict[Layer, Tensor] = states, metric: PairDistances = metric) -> None:
            for layer, rows in states.items():
                geometry = LayerGeometry(layer, rows, metric)
                _ = geometry.equal, geometry.mean_norm, geometry.margin(), geometry.near_fractions()

        def constants(
            states: dict[Layer, Tensor] = states,
            metric: PairDistances = metric,
            looked_at: list[int] = looked_at,
        ) -> None:
            looked_at.extend(
                extreme_ratios(rows, metric, "smallest").looked_at for rows in states.values()
            )

        def knn(states: dict[Layer, Tensor] = states) -> None:
            for rows in states.values():
                faiss.knn(rows.numpy(), rows.numpy(), 2)

        ours, ratios, theirs = medians([margins, constants, knn], runs)
        every = len(prompts) * (len(prompts) - 1) / 2
        rows.append(
            (
                f"{name}, {len(states)} layers, {len(prompts)} x {decoder.hidden_size}",
                f"{ours:.2f} s",
                f"{ratios:.2f} s",
                f"{theirs:.2f} s",
                f"{ours / theirs:.2f}",
                f"{(ours + ratios) / theirs:.2f}",
                f"{100 * max(looked_at) / every:.3f} %",
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


def million(shared: Shared, runs: int) -> None:  # noqa: ARG001 - one run takes minutes
    """One million random windows at d = 128: the index, its recall, its memory."""
    prompts = shared.prompts("builtin:random", length=8, max_prompts=1_000_000)
    states = capture(shared.decoder(STATES_OF), prompts.ids, (4,)).rows[4]
    start = time.perf_counter()
    found = approximate_neighbours(states)
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


def continuations(shared: Shared, runs: int) -> None:
    """Every continuation of a prompt: the closest pair against the forward work and all pairs."""
    torch.manual_seed(0)
    small = Decoder("gpt2-small (random weights)", GPT2LMHeadModel(GPT2Config(vocab_size=50_257)))
    cases = ((STATES_OF, shared.decoder(STATES_OF), runs), ("gpt2-small, random weights", small, 1))
    rows = []
    for name, decoder, times in cases:
        ids = torch.randint(decoder.vocab_size, (20,))
        tokens = torch.arange(decoder.vocab_size)
        layers: tuple[Layer, ...] = (1, decoder.n_layers // 2, decoder.n_layers)

        found: list[dict[Layer, Tensor]] = []
        forward = partial(continued, decoder, ids, tokens, layers)
        (taken,) = medians([partial(_into, found, forward)], times)
        for layer, states in found[-1].items():
            some = min(4096, len(tokens))
            ours, every = medians(
                [lambda s=states: closest_pair(s), lambda s=states, n=some: all_pairs(s, n)], times
            )
            rows.append(
                (
                    f"{name}, V = {len(tokens)}, layer {layer_id(layer)}",
                    f"{taken:.2f} s",
                    f"{ours:.3f} s",
                    f"{100 * ours / taken:.0f} %",
                    f"{len(tokens) ** 2 / 2 / ours:.1e}",
                    f"{some * len(tokens) / 2 / every:.1e}",
                )
            )
    table(
        "every continuation of a prompt of 20 tokens",
        (
            "model and layer",
            "forward",
            "closest pair",
            "of forward",
            "pairs / s",
            "all pairs by blocks / s",
        ),
        rows,
    )


def _into(found: list[dict[Layer, Tensor]], work: Callable[[], dict[Layer, Tensor]]) -> None:
    found[:] = [work()]


def continued(
    decoder: Decoder, ids: Tensor, tokens: Tensor, layers: Sequence[Layer]
) -> dict[Layer, Tensor]:
    """The forward work of the exhaustive search: each token after the cached prefix, a row each."""
    prefix = decoder.prefix(ids, decoder.n_layers)
    return decoder.candidates(prefix, tokens, layers, side_by_side=False)


def all_pairs(states: Tensor, some: int) -> float:
    """What blocked all-pairs would do: float32 distances by matrix products, the smallest kept.

    Of some rows to all: its time grows with their number.
    """
    least = float("inf")
    for at in range(0, some, 1024):
        apart = torch.cdist(states[at : at + 1024], states)
        apart[torch.arange(len(apart)), torch.arange(at, at + len(apart))] = torch.inf
        least = min(least, float(apart.min()))
    return least


def equal(shared: Shared, runs: int) -> None:
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


def gpu(shared: Shared, runs: int) -> None:  # noqa: ARG001 - its rows are random
    """100,000 x 4,096 on a GPU: neighbours beside the product alone."""
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
        ("states", "neighbours", "TFLOP/s", "product alone", "TFLOP/s"),
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
    for part in (neighbours, planted, pairs, equal, layers, continuations, million, gpu)
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
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    shared = Shared(arguments.shared)
    for part in arguments.parts or [name for name in PARTS if name not in APART]:
        PARTS[part](shared, arguments.runs)


if __name__ == "__main__":
    main()
