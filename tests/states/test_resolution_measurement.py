"""The resolution of a layer: the largest of what evaluations differ by, coordinate by coordinate too."""

import math
import threading
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.evaluations import (
    Evaluations,
    evaluate_candidates,
    evaluate_prompts,
    evaluate_windows,
)
from pytest_injectivity.states.resolution_measurement import measure_later, measure_resolution
from pytest_injectivity.states.resolution_sample import Sample
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder
from tests.resolutions import resolution_of

LAYERS: tuple[Layer, ...] = (0, 1, 2, "norm")
PROMPTS = ((5, 9, 3, 60, 2, 2, 17), (8, 8), tuple(range(40)), (4, 3, 2), (63,) * 21)
HELD_OUT = ((7, 7, 1), tuple(range(20, 50)))
WINDOWS = (tuple(range(9, 20)), (4, 4, 9, 9, 1, 7, 7, 2, 2, 5, 5))
HELD_OUT_WINDOWS = (tuple(range(30, 41)), (8, 1, 8, 1, 8, 1, 8, 1, 8, 1, 8), tuple(range(50, 61)))


def sample_of(
    prompts: tuple[tuple[int, ...], ...], held_out: tuple[tuple[int, ...], ...]
) -> Sample:
    """A sample with these whole prompts."""
    return Sample(
        prompts, held_out, tuple(range(8)), tuple(range(8, 64)), WINDOWS, HELD_OUT_WINDOWS, exact=2
    )


SAMPLE = sample_of(PROMPTS, HELD_OUT)


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """A decoder whose states are off by 3e-3 in a batch and by 4e-3 across it after cached parts.

    At position 0 they are off by 0.5 where tokens follow.
    """
    decoder = tiny_decoder("gpt2", dtype=torch.float64)
    run, run_in_parts = decoder.states, decoder.states_in_parts

    def states(ids: Tensor, layers: Any, *, prefix: Any = None, **kept: Any) -> Any:
        found = run(ids, layers, prefix=prefix, **kept)
        for table in found.values():
            at = kept.get("positions")
            if at is not None and prefix is None and not at.any():
                table[:, 0] += 0.5 * (ids.shape[1] > 1)
            elif len(ids) > 1:
                table[..., 0] += 3e-3
        return found

    def states_in_parts(ids: Tensor, cuts: Any, layers: Any) -> Any:
        found = run_in_parts(ids, cuts, layers)
        for table in found.values():
            table[:, :, 1] += 4e-3
        return found

    monkeypatch.setattr(decoder, "states", states)
    monkeypatch.setattr(decoder, "states_in_parts", states_in_parts)
    return decoder


def test_every_two_ways_are_compared(shifted: Decoder) -> None:
    """3e-3 one way and 4e-3 across it are 5e-3 apart; position 0 keeps its 0.5 to itself."""
    found = measure_resolution(shifted, None, SAMPLE, LAYERS)
    assert set(LAYERS) == set(found)
    for one in found.values():
        assert 5e-3 == pytest.approx(one.value, rel=1e-9)
        assert 0.5 == pytest.approx(one.at(0), rel=1e-9)
        assert one.value == one.at(1) == one.at(39)
        assert "cached" in one.later.between
        assert [3e-3, 4e-3] == pytest.approx(one.later.scale.values[:2].tolist(), rel=1e-9)


def test_the_error_is_apart(shifted: Decoder) -> None:
    """It is the distance of a batch from float64, off by 3e-3 here, and no part of the resolution."""
    exact = tiny_decoder("gpt2", dtype=torch.float64)
    with torch.no_grad():
        exact.parts.embeddings.weight[:, 0] += 1.0
    found = measure_resolution(shifted, lambda: exact, SAMPLE, (0,))[0]
    assert 1.0 - 3e-3 == pytest.approx(found.error, rel=1e-9)
    assert 5e-3 == pytest.approx(found.value, rel=1e-9)


def evaluated(decoder: Decoder) -> list[dict[Layer, list[np.ndarray]]]:
    """The evaluations of each state of prompts, windows and candidates, of both parts of the sample."""
    shared = [
        (evaluate_windows(decoder, WINDOWS + HELD_OUT_WINDOWS, LAYERS), 10 * len(WINDOWS)),
        (evaluate_candidates(decoder, WINDOWS[0], LAYERS), 16),
    ]
    parts = []
    for side, prompts in enumerate((PROMPTS, HELD_OUT)):
        ordered = sorted(prompts, key=len, reverse=True)
        own = evaluate_prompts(decoder, ordered, LAYERS, every_way=True)
        every = {layer: by_state(own[layer]) for layer in LAYERS}
        for found, of_first in shared:
            for layer, one in found.items():
                every[layer] += by_state(one)[
                    slice(of_first) if not side else slice(of_first, None)
                ]
        parts.append(every)
    return parts


def by_state(found: Evaluations) -> list[np.ndarray]:
    """The evaluations of each state, ``(ways, hidden)`` in float64, those that were made."""
    states = np.asarray(found.states.double())
    return [states[np.asarray(found.evaluated[:, at]), at] for at in range(states.shape[1])]


def slow(states: list[np.ndarray], unit: float) -> dict[str, Any]:
    """Resolution, scale parts and norms by loops over tokens and ways, in float64."""
    largest, roundings, sizes, spread = [0.0], [0.0], [], []
    for ways in states:
        roundings.append(unit * float(np.sqrt((ways[0] ** 2).sum())))
        sizes.append(np.abs(ways[0]))
        for left, right in combinations(ways, 2):
            largest.append(float(np.sqrt(((left - right) ** 2).sum())))
            spread.append(np.abs(left - right))
    return {
        "nu": max(*largest, *roundings),
        "spread": np.max(spread, axis=0),
        "usual": np.mean(sizes, axis=0),
    }


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_later_positions_are_those_of_a_slow_loop(family: str, dtype: torch.dtype) -> None:
    """``nu``, ``sigma`` and the radius of the same evaluations, by loops in float64."""
    decoder = tiny_decoder(family, dtype=dtype)
    found = measure_resolution(decoder, None, SAMPLE, LAYERS)
    own, held = evaluated(decoder)
    assert set(LAYERS) == set(found)
    for layer, one in found.items():
        unit = torch.finfo(decoder.states(torch.tensor([[1, 2]]), [layer])[layer].dtype).eps / 2
        made, other = (slow(every[layer], unit) for every in (own, held))
        sigma = np.maximum(made["spread"], unit * made["usual"])
        assert sigma.tolist() == pytest.approx(one.later.scale.values.tolist(), rel=1e-9)
        assert max(made["nu"], other["nu"]) == pytest.approx(one.value, rel=1e-9)
        scaled = [ways / sigma for ways in held[layer]]
        assert slow(scaled, unit)["nu"] == pytest.approx(one.later.radius, rel=1e-9)
        assert one.later.usual_radius <= one.later.radius
        assert one.later.usual <= one.later.distance


def test_the_radius_of_position_0_is_measured_on_every_single_held_out() -> None:
    """Two passes of 56 tokens, and of 24 in five ways more."""
    found = measure_resolution(tiny_decoder("gpt2"), None, SAMPLE, [1])[1]
    assert 2 * 56 + 5 * 24 == found.first.evaluations


def test_position_0_is_measured_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate on prompts of several tokens does without its passes."""
    decoder = tiny_decoder("gpt2")
    found = measure_resolution(decoder, None, SAMPLE, [1])[1]
    assert found.value > 0
    monkeypatch.setattr(decoder, "states", None)
    with pytest.raises(TypeError):
        _ = found.first


def test_a_resolution_is_at_least_one_rounding() -> None:
    """Where every way gives the same bits, two states are no better known than to one rounding."""
    tokens = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    decoder = additive_decoder(tokens, torch.zeros(64, 16))
    found = measure_resolution(decoder, None, SAMPLE, [1])[1]
    every = (*PROMPTS, *HELD_OUT, *WINDOWS, *HELD_OUT_WINDOWS)
    used = sorted({token for ids in every for token in ids[1:]})
    norms = tokens[used].double().norm(dim=1)
    assert 2.0**-24 * float(norms.max()) == pytest.approx(found.value, rel=1e-6)
    assert "one rounding of a state" == found.later.between
    assert (found.later.scale.values > 0).all()


def test_a_sink_at_position_0_is_kept_apart() -> None:
    """Its state is huge, and its rounding with it; later positions are judged by their own."""
    positions = torch.zeros(64, 16)
    positions[0] = 1e5
    tokens = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    found = measure_resolution(additive_decoder(tokens, positions), None, SAMPLE, [1])[1]
    assert 1e5 * 2.0**-24 * 4 == pytest.approx(found.at(0), rel=1e-3)
    assert found.value < 1e-5


def test_states_of_zeros_have_a_scale() -> None:
    """No distance is divided by 0."""
    decoder = additive_decoder(torch.zeros(64, 16), torch.zeros(64, 16))
    found = measure_resolution(decoder, None, SAMPLE, [1])[1]
    assert [1.0] * 16 == found.later.scale.values.tolist()
    assert 0.0 == found.later.radius == found.value


def test_bfloat16_is_coarser_than_float32() -> None:
    """By the ratio of their roundings, or nearly."""
    single, half = (
        resolution_of(tiny_decoder("llama", dtype=dtype), PROMPTS, [2])[2].value
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert 1e3 < half / single < 1e6


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_other_batches_are_within_a_few_resolutions(family: str, dtype: torch.dtype) -> None:
    """Rows in shapes that were not sampled are about as far from each other as those that were."""
    decoder = tiny_decoder(family, dtype=dtype)
    found = resolution_of(decoder, PROMPTS, LAYERS)
    alone = decoder.states(torch.tensor([PROMPTS[2]]), LAYERS)
    assert set(LAYERS) == set(found)
    for height in (3, 7):
        states = decoder.states(torch.tensor([PROMPTS[2]] * height), LAYERS)
        for layer in LAYERS:
            off = states[layer].double() - alone[layer].double()
            assert float(off[:, 1:].norm(dim=2).max()) <= 3 * found[layer].value


def test_without_a_float64_copy_the_error_is_nan() -> None:
    """What could not be measured is said, and the resolution is there."""
    found = resolution_of(tiny_decoder("gpt2"), PROMPTS, [1])[1]
    assert math.isnan(found.error)
    assert found.value > 0
    assert resolution_of(tiny_decoder("gpt2"), PROMPTS, [1], float64=True)[1].error > 0


def test_states_that_are_not_finite_have_no_resolution() -> None:
    """NaN, so that nothing is judged by it; shallower layers keep theirs."""
    found = resolution_of(plant_nan(tiny_decoder("gpt2"), 2), PROMPTS, LAYERS)
    assert found[1].value > 0
    assert math.isnan(found[2].value)
    assert math.isnan(found["norm"].at(0))


def test_progress_counts_every_prompt() -> None:
    """Up to all of both parts."""
    told: list[int] = []
    measure_resolution(tiny_decoder("gpt2"), None, SAMPLE, [1], progress=told.append)
    assert 7 == told[-1]
    assert sorted(told) == told


def test_few_prompts_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All positions of all layers of some 512 tokens: memory does not grow with the sample."""
    decoder = tiny_decoder("gpt2")
    passes: list[int] = []
    run = decoder.states

    def states(ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        passes.append(ids.numel())
        return run(ids, *args, **kwargs)

    monkeypatch.setattr(decoder, "states", states)
    prompts = tuple(tuple(range(at, at + 33)) for at in range(30))
    measure_resolution(decoder, None, sample_of(prompts, prompts), [1])
    assert max(passes) <= 16 * 64


@pytest.mark.usefixtures("two_threads")
def test_passes_end_where_what_is_told_of_progress_fails() -> None:
    """No pass goes on behind a test that has failed, although its traceback is kept."""
    decoder = tiny_decoder("gpt2", vocab=2**20)

    def fails(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as kept:
        measure_later(decoder, None, SAMPLE, [1], progress=fails)
    running = [one.name for one in threading.enumerate() if "ThreadPool" in one.name]
    assert (True, []) == (kept.tb is not None, running)
