"""``benchmarks/real.py``: what its tables say follows from what was measured."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.resolution import Resolution
from pytest_injectivity.states.scaled import Scale
from pytest_injectivity.testing import tiny_decoder

Module = Callable[[str], Any]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Imports a file of the folder as its scripts do."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def imported(name: str) -> ModuleType:
        return importlib.import_module(name)

    return imported


def _gate(module: Module, **changed: object) -> Any:
    found = {
        "dtype": "bfloat16",
        "prompts": 1000,
        "tokens": 50_000,
        "layers": 31,
        "loading": 100.0,
        "capture": 40.0,
        "resolution": 6.0,
        "collisions": 4.0,
        "margins": 3.0,
        "constants": 5.0,
        "peak": 2_500_000_000,
        "verdicts": ("PASS no_collisions: 31 layers, layer01 to norm",),
        "passed": True,
    }
    return module("real_gate").Gate(**found | changed)


def test_a_gate_is_held_against_capture_alone(module: Module) -> None:
    """Loading apart: 58 s against 40 s, and the resolution is 15 % of capture."""
    one = _gate(module)
    assert (58.0, 1.45, True) == (one.whole, one.ratio, one.met)
    assert "6.0 s (15 %)" in module("real_gate").cells(one)


@pytest.mark.parametrize(
    "changed", [{"passed": False}, {"collisions": 8.0}, {"peak": 3_000_000_000}]
)
def test_a_gate_that_misses_one_bound_is_not_met(
    module: Module, changed: dict[str, object]
) -> None:
    """Red, 1.55 times capture, or 3 GB."""
    one = _gate(module, **changed)
    assert not one.met
    assert "no" == module("real_gate").cells(one)[-1]


def test_a_table_has_a_cell_for_each_column(module: Module) -> None:
    """A bar within a cell does not end it, and the line below says where it was measured."""
    table = module("real_tables").markdown("a title", ("a", "b"), [("1|2", "3")], where="here")
    title, _, head, rule, row, _, below = table.split("\n")
    assert ("### a title", "| a | b |", "| --- | ---: |") == (title, head, rule)
    assert r"| 1\|2 | 3 |" == row
    assert below.endswith(f"{torch.get_num_threads()} threads, here")


@pytest.mark.parametrize("least", [3e-7, 2e-4, 0.09])
def test_the_smallest_noise_rejected(module: Module, least: float) -> None:
    """To a factor of two, and nothing is recovered at it."""
    found = module("real_rejections").smallest_rejected(lambda noise: int(noise < least), 0.1)
    assert least <= found <= 2 * least


def test_noise_is_in_proportion_to_each_tensor(module: Module) -> None:
    """Ten per cent of the root mean square of a tensor, in every tensor."""
    clean, noisy = (tiny_decoder("llama", hidden=32) for _ in range(2))
    module("real_rejections").with_noise(noisy, 0.1)
    pairs = zip(clean.model.parameters(), noisy.model.parameters(), strict=True)
    sizes = [float((b - a).norm() / a.norm()) for a, b in pairs if a.numel() > 200]
    assert sizes
    assert pytest.approx(0.1, rel=0.2) == min(sizes)
    assert pytest.approx(0.1, rel=0.2) == max(sizes)


def test_twins_differ_in_one_token(module: Module) -> None:
    """The last place at which the commonest token stands holds the rarest one."""
    prompts = [[1, 2, 1, 3], [1, 4], [4, 3]]
    kept, twin = module("real_subsets").commonest_and_rarest([*prompts, [1]], vocabulary=6)
    assert (1, 0) == (kept, twin)
    assert [((1, 2, 1, 3), (1, 2, 0, 3))] == module("real_subsets").twins(prompts[:1], kept, twin)


@pytest.fixture
def decoder() -> Decoder:
    return tiny_decoder("llama", vocab=32)


@pytest.mark.parametrize("target", [1e-3, 0.1])
def test_a_pair_is_planted_at_the_distance_asked_for(
    module: Module, decoder: Decoder, target: float
) -> None:
    """Within a per cent in float32, and the prompts differ in their last token alone."""
    measure = torch.linalg.vector_norm
    twin = module("real_planted").plant(decoder, 2, (3, 4, 5), 9, target, measure=measure)
    left, right = (
        decoder.states(torch.tensor([ids]), [2])[2][0, -1].double()
        for ids in (twin.left, twin.right)
    )
    assert ((3, 4, 5), (3, 4, 9)) == (twin.left, twin.right)
    assert pytest.approx(target, rel=0.01) == float((left - right).norm()) == twin.reached


@pytest.mark.parametrize(("scale", "expected"), [([1.0, 1.0], 2.5), ([0.1, 1.0], 10.0)])
def test_a_pair_is_as_far_apart_as_in_the_farther_of_its_distances(
    module: Module, scale: list[float], expected: float
) -> None:
    """In units of the resolution: what is resolved in one distance is not unresolved in the other."""
    sigma = Scale(np.array(scale))
    resolution = Resolution(
        distance=2.0,
        between="",
        ordinary=2.0,
        median_norm=1.0,
        scale=sigma,
        radius=5.0,
        ordinary_radius=5.0,
        usual=1.0,
        usual_radius=1.0,
        evaluations=1,
        error=0.0,
    )
    found = module("real_planted").over(resolution, torch.tensor([5.0, 0.0]).double())
    assert pytest.approx(expected) == found


def test_the_published_search_stops(module: Module, decoder: Decoder) -> None:
    """At its limit it says how far it came; without one it finds the prompt."""
    samples = module("sipit_samples")
    sample = samples.Sample.of(decoder, 1, [(1, 2, 3), (4, 5, 6)]).first(1)
    published = module("published_sipit")
    exact, candidates = published.published(sample)
    assert 1 == exact
    assert 1 <= candidates <= 32
    with pytest.raises(published.OutOfTimeError, match="after 0 prompts and 0 tokens"):
        published.published(sample, limit=0.0)
