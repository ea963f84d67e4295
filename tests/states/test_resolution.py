"""The noise floor: the largest of what was measured, position 0 apart, and never in silence."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.resolution import Floor, NoiseFloor, measure_noise
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder

LAYERS: tuple[Layer, ...] = (0, 1, 2, "norm")
ONE = torch.tensor([[1]])
PROMPTS = [[5, 9, 3, 60, 2, 2, 17], [1], [8, 8], list(range(40)), [4, 3, 2], [63] * 21]


def alone(decoder: Decoder, prompt: list[int]) -> dict[Layer, Tensor]:
    """The states of every position of one unpadded prompt, in float64, at each layer."""
    states = decoder.states(torch.tensor([prompt]), LAYERS)
    return {layer: table[0].double() for layer, table in states.items()}


def largest_norm(rows: list[Tensor]) -> float:
    """The largest row norm, 0 where there is no row."""
    return max((float(row.norm()) for table in rows for row in table), default=0.0)


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Decoder]:
    """A decoder whose states are off by 3e-3 in a batch and by 4e-3 across it after a prefix.

    At position 0 they are off by 0.5 in a batch.
    """

    def build() -> Decoder:
        decoder = tiny_decoder("gpt2", dtype=torch.float64)
        run = decoder.states

        def states(ids: Tensor, layers: Any, *, prefix: Any = None, **kept: Any) -> Any:
            found = run(ids, layers, prefix=prefix, **kept)
            for table in found.values():
                if len(ids) > 1:
                    table[:, 0, 0] += 0.5
                    table[:, 1:, 0] += 3e-3
                elif prefix is not None:
                    table[:, :, 1] += 4e-3
            return found

        monkeypatch.setattr(decoder, "states", states)
        return decoder

    return build


def test_every_two_ways_are_compared(shifted: Callable[[], Decoder]) -> None:
    """3e-3 one way and 4e-3 across it are 5e-3 apart; position 0 keeps its 0.5 to itself."""
    found = measure_noise(shifted(), None, PROMPTS, LAYERS)
    assert set(LAYERS) == set(found)
    for floor in found.values():
        assert 5e-3 == pytest.approx(floor.later.reproduction, rel=1e-9)
        assert 0.5 == pytest.approx(floor.first.reproduction, rel=1e-9)
        assert 5e-3 == pytest.approx(floor.value, rel=1e-9)
        assert 0.5 == pytest.approx(floor.at(0), rel=1e-9)
        assert floor.value == floor.at(1) == floor.at(39)


def test_every_way_is_compared_with_float64(shifted: Callable[[], Decoder]) -> None:
    """The largest distance to the reference is the shift of the farther way."""
    exact = tiny_decoder("gpt2", dtype=torch.float64)
    found = measure_noise(shifted(), exact, PROMPTS, LAYERS)
    assert set(LAYERS) == set(found)
    for floor in found.values():
        assert 4e-3 == pytest.approx(floor.later.error, rel=1e-9)
        assert 0.5 == pytest.approx(floor.first.error, rel=1e-9)


@pytest.mark.parametrize("at", [0, 4, 9])
def test_one_shifted_prompt_of_many_is_found(shifted: Callable[[], Decoder], at: int) -> None:
    """Prompts are measured a few at a time: the floor is the largest over all of them."""
    ones = [[one] for one in range(9)]
    sample = [*ones[:at], [3, 5], *ones[at:]]
    floor = measure_noise(shifted(), None, sample, [1])[1]
    assert 5e-3 == pytest.approx(floor.later.reproduction, rel=1e-9)
    assert 10 == floor.prompts


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "mamba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_parts_equal_a_direct_computation(family: str, dtype: torch.dtype) -> None:
    """Error and rounding from each prompt alone; the ways differ by reproduction at most."""
    decoder = tiny_decoder(family, dtype=dtype)
    exact = decoder.as_float64()
    found = measure_noise(decoder, exact, PROMPTS, LAYERS)
    states, truths = ([alone(one, prompt) for prompt in PROMPTS] for one in (decoder, exact))
    dtypes = {layer: table.dtype for layer, table in decoder.states(ONE, LAYERS).items()}
    units = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}
    unit = {layer: units[dtype] for layer, dtype in dtypes.items()}
    assert set(LAYERS) == set(found)
    for layer, floor in found.items():
        for part, positions in ((floor.first, slice(0, 1)), (floor.later, slice(1, None))):
            rows = [table[layer][positions] for table in states]
            off = [
                table - truth[layer][positions] for table, truth in zip(rows, truths, strict=True)
            ]
            largest = max(float(table.abs().max()) for table in rows if len(table))
            # The width is 16; the unit, of the states: mamba's residual stream is float32.
            assert 4 * unit[layer] * 4.0 * largest == pytest.approx(part.rounding, rel=1e-12)
            error = largest_norm(off)
            assert error <= part.error <= error + part.reproduction
            assert part.value == max(part.reproduction, part.error, part.rounding)


def test_bfloat16_is_noisier_than_float32() -> None:
    """By the ratio of their roundings, or nearly."""
    decoder = tiny_decoder("llama")
    single = measure_noise(decoder, decoder.as_float64(), PROMPTS, [2])[2]
    decoder = tiny_decoder("llama", dtype=torch.bfloat16)
    half = measure_noise(decoder, decoder.as_float64(), PROMPTS, [2])[2]
    assert 1e3 < half.value / single.value < 1e6


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_the_floor_bounds_what_other_batches_do(family: str) -> None:
    """Rows in shapes that were not sampled lie within the floor of each other."""
    decoder = tiny_decoder(family)
    floor = measure_noise(decoder, decoder.as_float64(), PROMPTS, LAYERS)
    assert set(LAYERS) == set(floor)
    for height in (3, 7):
        ids = torch.tensor([PROMPTS[3]] * height)
        for layer, states in decoder.states(ids, LAYERS).items():
            off = states.double() - alone(decoder, PROMPTS[3])[layer]
            assert float(off[:, 1:].norm(dim=2).max()) <= floor[layer].value
            assert float(off[:, 0].norm(dim=1).max()) <= floor[layer].at(0)


def test_without_a_float64_copy_the_error_is_nan_and_the_floor_is_not() -> None:
    """What could not be measured is said, and the rest still counts."""
    found = measure_noise(tiny_decoder("gpt2"), None, PROMPTS, LAYERS)
    assert set(LAYERS) == set(found)
    for floor in found.values():
        for part in (floor.first, floor.later):
            assert math.isnan(part.error)
            assert part.value == max(part.reproduction, part.rounding) > 0


def test_a_sink_at_position_0_is_kept_apart() -> None:
    """Its state is huge, and its rounding with it; later positions are judged by their own."""
    positions = torch.zeros(64, 16)
    positions[0] = 1e5
    tokens = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    floor = measure_noise(additive_decoder(tokens, positions), None, PROMPTS, [1])[1]
    assert 1e5 * 2.0**-24 * 16 == pytest.approx(floor.at(0), rel=1e-3)
    assert floor.value < 1e-5


def test_one_token_prompts_have_the_floor_of_position_0() -> None:
    """A sample without a second position has measured nothing there, and nothing is not 0."""
    decoder = tiny_decoder("gpt2")
    floor = measure_noise(decoder, decoder.as_float64(), [[1], [2], [3]], [1])[1]
    assert floor.later == floor.first
    assert floor.value > 0


@pytest.mark.parametrize("exact", [True, False])
def test_states_that_are_not_finite_have_no_floor(*, exact: bool) -> None:
    """NaN, so that nothing is judged by it; shallower layers keep theirs."""
    decoder = plant_nan(tiny_decoder("gpt2"), 2)
    found = measure_noise(decoder, decoder.as_float64() if exact else None, PROMPTS, LAYERS)
    assert found[1].value > 0
    assert math.isnan(found[2].value)
    assert math.isnan(found["norm"].at(0))


def test_a_nan_is_never_outdone() -> None:
    """In either order; only an error that was not measured is left out of the value."""
    nan = math.nan
    for joined in (Floor(nan, 0.0, 1.0).joined(Floor()), Floor().joined(Floor(nan, 0.0, 1.0))):
        assert math.isnan(joined.reproduction)
        assert math.isnan(joined.value)
    assert math.isnan(Floor(1.0, 2.0, nan).value)
    assert 1.0 == Floor(1.0, nan, 0.5).value
    assert Floor(1.0, 5.0, 3.0) == Floor(1.0, 2.0, 3.0).joined(Floor(0.0, 5.0, 1.0))


def test_a_floor_is_that_of_its_position() -> None:
    """0 is the first, any other is a later one."""
    floor = NoiseFloor(Floor(rounding=9.0), Floor(rounding=1.0), 4)
    assert (9.0, 1.0, 1.0) == (floor.at(0), floor.at(1), floor.value)


def test_few_prompts_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All positions of all layers of a few prompts: memory does not grow with the sample."""
    decoder = tiny_decoder("gpt2")
    passes: list[tuple[int, int]] = []
    run = decoder.states

    def states(ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        passes.append(tuple(ids.shape))
        return run(ids, *args, **kwargs)

    monkeypatch.setattr(decoder, "states", states)
    measure_noise(decoder, None, [list(range(at, at + 33)) for at in range(20)], [1])
    assert max(rows for rows, _ in passes) == 4
    assert {width for rows, width in passes if rows > 1} == {40}
