import numpy as np
import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.plan.calibration import calibrate
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.testing import tiny_decoder


class Modelled(Decoder):
    """A decoder whose passes move a clock: 1 s a pass and 1/64 s a token."""

    now = 0.0

    def clock(self) -> float:
        """The seconds that the passes took."""
        return self.now

    def states(self, ids, *args, **kwargs):  # noqa: ANN001, ANN002, ANN003, ANN201 - the parent's
        """Moves the clock, and does what the parent does."""
        self.now += 1.0 + ids.numel() / 64
        return super().states(ids, *args, **kwargs)


@pytest.fixture
def decoder() -> Modelled:
    """A tiny model with a clock of its own."""
    plain = tiny_decoder("gpt2", vocab=64, context=64, layers=2)
    return Modelled(plain.source, plain.model, plain.tokenizer)


def _distances(count: int, length: int) -> PairDistances:
    generator = np.random.default_rng(0)
    prompts = [tuple(generator.integers(0, 64, length).tolist()) for _ in range(count)]
    return PairDistances(PromptMetric.LEVENSHTEIN, prompts)


def test_a_pass_and_a_token_are_told_apart(decoder: Modelled) -> None:
    """Two shapes give both numbers of the line that the clock follows."""
    rates = calibrate(
        decoder, _distances(20, 32), batch_tokens=4096, seconds=60, clock=decoder.clock
    )
    assert pytest.approx(1.0) == rates.forward
    assert pytest.approx(1 / 64) == rates.token


def test_no_pass_is_larger_than_a_batch(decoder: Modelled) -> None:
    """A capture runs none of that size, and memory may not hold it."""
    begun = decoder.now
    calibrate(decoder, _distances(20, 32), batch_tokens=64, seconds=1e9, clock=decoder.clock)
    assert 30 > decoder.now - begun


def test_passes_end_with_the_time(decoder: Modelled) -> None:
    """A slow model gets the two smallest shapes."""
    calibrate(decoder, _distances(20, 32), batch_tokens=2**20, seconds=4, clock=decoder.clock)
    assert 12 > decoder.now


@pytest.mark.parametrize("prompts", [2, 3, 300])
def test_few_prompts_are_calibrated_too(prompts: int) -> None:
    """Every rate is a positive time."""
    decoder = tiny_decoder("gpt2", vocab=64, context=64, layers=1)
    rates = calibrate(decoder, _distances(prompts, 8), batch_tokens=4096, seconds=0.01)
    assert rates.token > 0
    assert rates.candidate > 0
    assert rates.neighbors.seconds(100) > 0
    assert rates.ratios.seconds(100) > 0
    assert rates.float64 >= 1


def test_a_calibration_changes_no_random_number() -> None:
    """It draws from generators of its own."""
    decoder = tiny_decoder("gpt2", vocab=64, context=64, layers=1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    calibrate(decoder, _distances(10, 8), batch_tokens=64, seconds=0.01)
    assert torch.equal(before, torch.get_rng_state())
