"""Prompts, the states observed of them, and their inversion by the lens, for ``./dev bench sipit``."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.recovery import Recovery
from pytest_injectivity.inversion.sipit import SipIt
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.states.resolution_measurement import measure_resolution
from pytest_injectivity.states.resolution_sample import choose_sample
from pytest_injectivity.states.scaled import Scales
from pytest_injectivity.states.tolerance_by_norm import ToleranceByNorm

SHIPPED = "builtin:gpt2-stdlib"


@dataclass(eq=False)
class SharedPrompts:
    """Models of a folder, and prompts for them."""

    root: Path

    @cache  # noqa: B019 - one instance, for the length of the process
    def decoder(self, name: str) -> Decoder:
        """A model of the folder, or the shipped one."""
        return load_decoder(name if name == SHIPPED else str(self.root / "models" / name))

    def prompts(self, name: str, count: int, length: int) -> list[tuple[int, ...]]:
        """Windows of the prompt file, one of ten prompts random tokens."""
        decoder = self.decoder(name)
        found = load_prompts(
            str(self.root / "prompts" / "prompts-1k.jsonl"),
            decoder.tokenizer,
            overlong="drop",
            context=decoder.context,
            vocab_size=decoder.vocab_size,
        )
        # Short prompts follow one another where one alone is not long enough.
        text = [ids[:length] for ids in found.ids if len(ids) >= length]
        if len(text) < count:
            flat = [token for ids in found.ids for token in ids]
            text = [tuple(flat[at : at + length]) for at in range(0, len(flat) - length, length)]
        drawn = random_prompts(decoder, max(1, count // 10), length)
        return text[: count - len(drawn)] + drawn


@dataclass(frozen=True)
class Sample:
    """Prompts, their states at a layer, and the tolerance.

    Attributes:
        decoder, layer, prompts, states: what is inverted.
        eps: the scaled radius by position, and by length for attention sinks.
        scales: the resolution of each coordinate.
        distances: the resolution in the Euclidean distance, likewise by position.
    """

    decoder: Decoder
    layer: Layer
    prompts: Sequence[tuple[int, ...]]
    states: Sequence[Tensor]
    eps: ToleranceByNorm
    scales: Scales
    distances: tuple[float, float]

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        layer: Layer,
        prompts: Sequence[tuple[int, ...]],
    ) -> "Sample":
        """Observes the states of the prompts, and measures the resolution on some of them."""
        sample = choose_sample(prompts, decoder.vocab_size, decoder.context)
        resolution = measure_resolution(decoder, None, sample, [layer])[layer]
        states = [observe(decoder, ids, [layer])[layer] for ids in prompts]
        eps, distances = resolution.scaled_tolerance, (resolution.at(0), resolution.at(1))
        return cls(decoder, layer, prompts, states, eps, resolution.scales, distances)

    def first(self, count: int) -> "Sample":
        """The first so many prompts, at the same tolerance."""
        return replace(self, prompts=self.prompts[:count], states=self.states[:count])


@dataclass(frozen=True)
class Run:
    """One inversion of a sample by the lens: prompts exact and verified, seconds, work a token."""

    exact: int
    verified: int
    calibration: float
    recovery: float
    forwards: float
    first: float
    candidates: float


def random_prompts(decoder: Decoder, count: int, length: int) -> list[tuple[int, ...]]:
    """Uniform tokens."""
    generator = np.random.default_rng(0)
    return [
        tuple(row) for row in generator.integers(decoder.vocab_size, size=(count, length)).tolist()
    ]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def by_lens(sample: Sample) -> Run:
    """Inverts a sample, as ``assert_sipit_recovers`` does; calibration and recovery timed apart."""
    sipit = SipIt(sample.decoder, sample.layer, eps=sample.eps, scales=sample.scales, evaluate=True)
    calibration = cpu_seconds(lambda: sipit.calibrate(sample.states))
    found: list[Recovery] = []

    def invert() -> None:
        found.extend(sipit.finished(sample.states, sipit.recover(sample.states)))

    recovery = cpu_seconds(invert)
    searched = [o for one in found for o in one.outcomes if o.position]
    tried = [o.tried for o in searched if o.tried]
    return Run(
        exact=sum(map(Recovery.exact, found, sample.prompts)),
        verified=sum(one.verified for one in found),
        calibration=calibration,
        recovery=recovery,
        forwards=sipit.work.forwards / sum(map(len, sample.prompts)),
        first=sum(o.rank == 0 for o in searched) / max(1, len(searched)),
        candidates=statistics.fmean(tried) if tried else 0.0,
    )
