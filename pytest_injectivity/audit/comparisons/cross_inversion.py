"""Cross inversion: a model's states at one layer are read with its parent (SPEC section 4).

Two attacks are tried. That both read little does not prove that no other attack reads more.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.measurements.recovered_by_workers import inverted
from pytest_injectivity.audit.measurements.recovery import known_tokens
from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.summary import CrossReading, Estimate, finite
from pytest_injectivity.stats import clopper_pearson, clustered_rate

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.inversion.cross_model import CrossInversion, Paths, Read

_CONFIDENCE = 0.95
# The number of prompts on which the attacker measures the drift.
_MEASURED_ON = 32

_Ids = tuple[int, ...]


@dataclass(frozen=True)
class CrossInversionKey(NumberKey):
    """Names the result of reading a model's states with its parent.

    Attributes:
        layer: the layer.
        prompts: how many prompts are attacked.
        tokens: their length.
        seed: the attack's seed.
    """

    layer: Layer
    prompts: int
    tokens: int
    seed: int


def cross_inversion(
    against: "Against", layer: Layer, prompts: int, tokens: int
) -> "CrossInversion":
    """Inverts the model's states with its parent; the store keeps the result.

    The prompts attacked are those that SipIt is tried on; the drift is measured on others.

    Raises:
        OptionError: too few prompts are long enough, or the drift is not finite.
    """
    return against.remember(
        CrossInversionKey(layer, prompts, tokens, against.child.target.config.seed),
        lambda: _invert(against, layer, prompts, tokens),
    )


def cross_reading(found: "CrossInversion") -> CrossReading:
    """A cross inversion as plain data: rates with their intervals."""
    rates = {
        f"{name}_{of}": Estimate.of(value, interval)
        for name, read in (("argmin", found.argmin), ("ball", found.ball))
        for of, (value, interval) in (
            ("prompts", _of_prompts(read, _CONFIDENCE)),
            ("tokens", of_tokens(read, found.searched, _CONFIDENCE)),
        )
    }
    return CrossReading(
        prompts=len(found.argmin.right),
        tokens=len(found.eps),
        drift=finite(found.drift),
        **rates,
    )


def _of_prompts(read: "Read", confidence: float) -> tuple[float, Interval]:
    prompts = len(read.right)
    return read.whole / prompts, clopper_pearson(read.whole, prompts, confidence)


def of_tokens(read: "Read", searched: int, confidence: float) -> tuple[float, Interval]:
    """The share of searched tokens that were read, with its interval, tokens clustered by prompt."""
    each = np.full(len(read.right), searched, dtype=np.int64)
    rate = int(read.right.sum()) / int(each.sum())
    return rate, clustered_rate(read.right, each, confidence)


def _invert(against: "Against", layer: Layer, prompts: int, tokens: int) -> "CrossInversion":
    from pytest_injectivity.inversion.cross_model import (
        CrossInversion,
        cross_invert,
        drift_by_position,
        median_drift,
    )
    from pytest_injectivity.states.tolerance_by_norm import ToleranceByNorm

    started = time.perf_counter()
    attacked, sample = _chosen(against, prompts, tokens)
    resolution = against.parent.resolution(layer)
    # One model runs after the other, because both may not fit in memory together.
    own, theirs = (
        _observed(one, layer, (*attacked, *sample)) for one in (against.child, against.parent)
    )
    eps = drift_by_position(own[prompts:], theirs[prompts:], resolution.ordinary)
    if not all(map(math.isfinite, eps)):
        raise OptionError(
            f"{layer_id(layer)}: the drift of {len(sample)} prompts is not finite: states with a NaN"
            " or an infinity cannot be read"
        )
    known, label = known_tokens(against.child, attacked), f"cross inversion {layer_id(layer)}"
    against.parent.target.foretelling.before(
        lambda costs: costs.cross(layer, prompts=prompts, tokens=tokens)
    )
    with against.child.target.watcher.progress(label, 4 * prompts) as advance:
        argmin, ball = cross_invert(
            lambda states, **asked: inverted(against.parent.target, states, layer, **asked),
            own[:prompts],
            attacked,
            vocabulary=against.parent.target.facts.vocab_size,
            eps=ToleranceByNorm(eps, resolution.median_norms),
            nu=resolution.tolerance,
            known=known,
            seed=against.child.target.config.seed,
            progress=advance,
        )
    return CrossInversion(
        searched=tokens - len(known),
        argmin=argmin,
        ball=ball,
        eps=eps,
        drift=median_drift(own[:prompts], theirs[:prompts]),
        seconds=time.perf_counter() - started,
    )


def _observed(measured: "Measurements", layer: Layer, prompts: Sequence[_Ids]) -> "Paths":
    """The states of prompts at every position, on the CPU."""
    from pytest_injectivity.inversion.own_states import observe

    decoder, found = measured.target.decoder, []
    with measured.target.watcher.progress(f"states at {layer_id(layer)}", len(prompts)) as advance:
        for done, ids in enumerate(prompts, 1):
            found.append(observe(decoder, ids, [layer])[layer].cpu())
            advance(done)
    return found


def _chosen(against: "Against", prompts: int, tokens: int) -> tuple[Sequence[_Ids], Sequence[_Ids]]:
    """The prompts attacked, and others on which the drift is measured, all of one length."""
    every = against.child.target.prompts
    sample = every.sample(max(prompts, 1) + _MEASURED_ON, tokens, at_least=0)
    if prompts < 1 or len(sample) <= prompts:
        raise OptionError(
            f"cross inversion: {prompts} prompts of {tokens} tokens were asked for, and one more at"
            f" least to measure the drift on; {sample.available} of {len(every)} prompts have {tokens}"
            " and differ in them: give fewer prompts= or another tokens=, both at least 1"
        )
    return sample.ids[:prompts], sample.ids[prompts:]
