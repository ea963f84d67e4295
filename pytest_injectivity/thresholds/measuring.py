"""Measures a parent and its trusted children on samples of prompts, for the thresholds of a suite."""

import gc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_injectivity.audit.audit import Audit
from pytest_injectivity.audit.comparisons.against import Against
from pytest_injectivity.audit.target.process import Process
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.progress import Silent, Watcher
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.thresholds.calibrated import CALIBRATED, Calibrated
from pytest_injectivity.thresholds.precision import Precision
from pytest_injectivity.thresholds.samples import Samples, draw_samples

_NOTHING = 1.0
"""The block error of a block that adds nothing."""


@dataclass(frozen=True)
class Value:
    """A measured value.

    Attributes:
        of: the threshold it is measured for.
        layer: the name of the layer.
        value: the value.
    """

    of: Calibrated
    layer: str
    value: float


@dataclass(frozen=True)
class Child:
    """A trusted child, as it was measured.

    Attributes:
        name: its checkpoint, and how it was loaded.
        precision: of its weights.
        dense: whether its dtype says nothing of the bits of its weights.
        values: of every threshold, layer and sample.
    """

    name: str
    precision: Precision
    dense: bool
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Measurement:
    """A parent and its trusted children on samples of prompts.

    Attributes:
        parent: its checkpoint, and the dtype that it computes in.
        children: the children.
        samples: the samples of prompts.
        prompts: the name of the set that they were drawn from.
        seed: of what was drawn.
    """

    parent: str
    children: tuple[Child, ...]
    samples: Samples
    prompts: str
    seed: int


def measure(
    configs: Sequence[AuditConfig],
    *,
    number: int = 3,
    size: int = 300,
    watcher: Watcher | None = None,
) -> Measurement:
    """Measure children and their parent on samples of prompts.

    Args:
        configs: of each child, its parent as ``reference``; all have one set of prompts.
        number: how many samples.
        size: the most prompts of each.
        watcher: told what happens; nobody by default.

    Raises:
        OptionError: a child is no child of the parent, or not one to be trusted: a value is not finite,
            a margin is 0, its states are farther from the parent's than 0 is, or a block errs by more
            than the bits of its weights explain.
        ModelError: a model cannot be audited.
        PromptError: there are too few prompts.
    """
    watcher = watcher or Silent()
    process: Process = {"watcher": watcher}
    samples: Samples | None = None
    children: list[Child] = []
    for config in configs:
        name = _name(config)
        pool = Audit(_with_more(config, number * size), **process)
        if config.kept_folder is None and "scratch" not in process:
            process = {**pool.target.process, "scratch": pool.target.kept.store.folder}
        parent = pool.comparisons.reference.target  # refuses what is no parent of the child
        if samples is None:
            judged = Audit(config, **process)
            samples = draw_samples(
                pool.prompts, judged.prompts, number=number, size=size, seed=config.seed
            )
        elif not all(set(one.ids) <= set(pool.prompts.ids) for one in samples.sets):
            raise OptionError(f"{name} has other token ids than {children[0].name} for the prompts")
        values: list[Value] = []
        for at, audit in enumerate(_on_each(pool, samples.sets, config, process), 1):
            watcher.announce(f"{name}: sample {at} of {number}, {samples.size} prompts")
            # Such as a model that was quantized, and decoded into a checkpoint of 16 bits.
            dense = audit.facts.quantized is None and config.dtype == "auto"
            if at == 1:
                _trust(name, audit, dense=dense)
            values += _values(name, audit.comparisons.against, dense=dense)
        children.append(Child(name, Precision.of(pool.facts), dense, tuple(values)))
    if samples is None:
        raise OptionError("no child is given: name one, or have the parent quantized")
    return Measurement(
        parent=f"{one_line(parent.config.model)} ({parent.facts.dtype})",
        children=tuple(children),
        samples=samples,
        prompts=pool.prompts.name,
        seed=configs[0].seed,
    )


def _on_each(
    pool: Audit, sets: Sequence[PromptSet], config: AuditConfig, process: Process
) -> Iterator[Audit]:
    """The child against its parent on each sample; both models are loaded once."""
    before = [pool.target, pool.comparisons.reference.target]
    for prompts in sets:
        audit = Audit(config, **process)
        # Without texts, whose ids were compared on the whole pool already.
        audit.target.use_prompts(replace(prompts, texts=None))
        now = [audit.target, audit.comparisons.reference.target]
        for old, new in zip(before, now, strict=True):
            if (decoder := old.hand_over()) is not None:
                new.adopt(decoder)
        yield audit
        before = now
    for old in before:
        old.unload()
    gc.collect()


def _trust(name: str, audit: Audit, *, dense: bool) -> None:
    """Refuses a child with a block that errs by more than the bits of its weights explain.

    Where these are not known, a block may not err by more than one that adds nothing would.
    """
    verdict = audit.check_block_error_below(relative=_NOTHING if dense else None)
    if not verdict.passed:
        first = verdict.text.splitlines()[0]
        raise OptionError(f"{name} is no child to be trusted: {first}; calibrate on a healthy one")


def _values(name: str, against: Against, *, dense: bool) -> Iterator[Value]:
    """The values of a child on one sample, of every threshold and layer."""
    audited = against.child.target.layers
    for layer in audited:
        for words, lost in zip(("", "of its parent "), against.not_finite(layer), strict=True):
            if lost:
                raise _untrusted(name, f"{words}{lost} states are not finite", layer)
    for row in (one for one in CALIBRATED if dense or not one.dense):
        for layer in row.layers(audited):
            for value in row.measure(against, layer):
                _check(name, row, layer, value)
                yield Value(row, layer_id(layer), value)


def _check(name: str, row: Calibrated, layer: Layer, value: float) -> None:
    """Refuses a value that no threshold may come from."""
    positive = row.rule.badness(0.0) <= row.rule.badness(1.0)  # 0 is the best value
    if not math.isfinite(value) or not (value > 0 or positive) or value >= row.untrusted:
        raise _untrusted(name, f"{row.name} is {show(value)}", layer)


def _untrusted(name: str, what: str, layer: Layer) -> OptionError:
    return OptionError(
        f"{name} is no child to be trusted: at {layer_id(layer)} {what}; calibrate on a healthy one"
    )


def _with_more(config: AuditConfig, more: int) -> AuditConfig:
    """The config with so many prompts more than the gate judges, if the source has them."""
    return config if config.sample is None else replace(config, max_prompts=config.sample + more)


def _name(config: AuditConfig) -> str:
    """A child's checkpoint, and how it is loaded."""
    loaded = [one for one in (config.quantization, config.dtype) if one not in (None, "auto")]
    return " ".join([one_line(config.model), *map(str, loaded)])
