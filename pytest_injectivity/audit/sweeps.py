"""The same measurements along a curve: prompt lengths, bits, or several models side by side.

    from pytest_injectivity import AuditConfig, compare_models, sweep_bits, sweep_lengths

    config = AuditConfig(model="checkpoints/mine", prompts="prompts.jsonl")
    by_length = sweep_lengths(config, [16, 32, 64])                  # [VS] figure 2, [N] figure 5
    by_model = compare_models([config, AuditConfig(model=..., prompts="prompts.jsonl")])
    by_bits = sweep_bits(config, [8, 7, 6, 5, 4, 3, 2])              # [VS] figures 4 and 5

Margins and co-Lipschitz constants fall as the number of prompts grows, so every point of a curve has
the same N: of larger sets a part is taken, and the watcher is told which. Models are loaded one after
the other, and one model serves all lengths.
"""

import gc
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.audit.target.run_summary import run_summary
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.progress import Labeled, Silent, Watcher
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.summary import LayerSummary, RunSummary
from pytest_injectivity.results.sweeps import SweepPoint

if TYPE_CHECKING:
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.prompts.promptset import PromptSet

T = TypeVar("T")

_FEWEST = 2
_ALL = 10**15
_MADE_TO_ORDER = ("builtin:random", "builtin:challenge")  # these have no end
_SAME = (
    "prompts",
    "prompt_field",
    "conversations",
    "length",
    "prompt_metric",
    "max_prompts",
    "seed",
)


def sweep_lengths(
    config: AuditConfig, lengths: Sequence[int], *, watcher: Watcher | None = None
) -> tuple[SweepPoint, ...]:
    """Every layer of the config at several prompt lengths ([VS] figure 2, [N] figure 5).

    Texts are cut into windows of each length, special tokens included. Longer windows are fewer: N is
    the smallest set's, and of the others the windows of smallest hash are taken.

    Args:
        config: what to audit; its own ``length`` is replaced by each of ``lengths``.
        lengths: in tokens.
        watcher: told what happens; nobody by default.

    Returns:
        The points, length by length as given, and of each length layer by layer.

    Raises:
        OptionError: no length is given, or one is not accepted or given twice.
        PromptError: at some length fewer than 2 prompts are left, or they exceed the context.
        ModelError: the model cannot be audited.

    Example:
        >>> config = AuditConfig(prompts="builtin:random", max_prompts=64, layers="-1", no_cache=True)
        >>> [(point.length, point.n) for point in sweep_lengths(config, [8, 16])]
        [(8, 64), (16, 64)]
    """
    configs = [replace(config, length=length) for length in _given("length", lengths)]
    watcher = watcher or Silent()
    sweep = _Sweep(configs, [f"length {length}" for length in lengths], watcher)
    return sweep.points(_same_number([audit.target.prompts for audit in sweep], watcher))


def sweep_bits(
    config: AuditConfig, bits: Sequence[GridLike], *, watcher: Watcher | None = None
) -> tuple[SweepPoint, ...]:
    """Every layer as the model computed it, and rounded to fewer and fewer bits ([VS] figures 4, 5).

    The captured states are rounded, and nothing is propagated: the model runs once, in full precision
    unless the config rounds its activations too. Collisions are counted on the integer codes.

    Args:
        config: what to audit.
        bits: what the states are rounded to, such as ``[8, 4]`` or ``["4 per-channel"]`` (`Grid`).
        watcher: told what happens; nobody by default.

    Returns:
        The points: the states as they are, then grid by grid as given, and of each layer by layer.

    Raises:
        OptionError: no bits are given, or a grid is not accepted or given twice.
        PromptError: the prompts cannot be audited.
        ModelError: the model cannot be audited.

    Example:
        >>> config = AuditConfig(prompts="builtin:random", max_prompts=64, layers="-1", no_cache=True)
        >>> [(point.bits, point.collisions > 0) for point in sweep_bits(config, [8, 2])]
        [(None, False), (8, False), (2, True)]
    """
    grids = _given("grid", [Grid.parse(one) for one in bits])
    audit = Measurements(Target(config, watcher=watcher))
    run = run_summary(audit.target)
    return tuple(
        point_of(audit, run, audit.layer_summary(layer, grid))
        for grid in (None, *grids)
        for layer in audit.target.layers
    )


def compare_models(
    configs: Sequence[AuditConfig], *, watcher: Watcher | None = None
) -> tuple[SweepPoint, ...]:
    """Every layer of several models on the same texts ([VS] figure 3, [N] table 1).

    Tokenizers differ, so that two texts may be one prompt to a model, or too long for it: texts that
    every model tells apart and accepts are kept, those of smallest hash where a sample is asked for.
    Windows and rows of token ids have no text in common; of them every model gets the same number.
    What a model makes of a text is in its hash, so the hashes of the points differ where tokenizers do.

    A model that is new to the store is loaded twice, once to find its prompts.

    Args:
        configs: one a model; the prompts, their metric, length, number and seed are the same in all.
        watcher: told what happens; nobody by default.

    Returns:
        The points, model by model as given, and of each model layer by layer.

    Raises:
        OptionError: no config is given, or they differ in what makes numbers comparable.
        PromptError: fewer than 2 prompts are left.
        ModelError: a model cannot be audited.

    Example:
        >>> from dataclasses import replace
        >>> config = AuditConfig(prompts="builtin:random", max_prompts=64, layers="-1", no_cache=True)
        >>> points = compare_models([config, replace(config, dtype="bfloat16")])
        >>> [point.dtype for point in points]
        ['float32', 'bfloat16']
    """
    _given("config", configs)
    for name in _SAME:
        if len(values := {getattr(config, name) for config in configs}) > 1:
            raise OptionError(
                f"the configs have {name} {' and '.join(sorted(map(repr, values)))}: numbers are"
                " comparable where it is the same in all"
            )
    watcher = watcher or Silent()
    labels = [Path(config.model).name or config.model for config in configs]
    alone = len(configs) == 1
    every = _Sweep([one if alone else _all_prompts(one) for one in configs], labels, watcher)
    sets = _same_texts([audit.target.prompts for audit in every], configs[0].sample, watcher)
    del every
    return _Sweep(configs, labels, watcher).points(sets)


class _Sweep:
    """Goes through configs one after the other, as often as it is asked to.

    A loaded model serves the next config, or the first one of the next round, where that is of the same
    model; else it is let go before another is loaded.
    """

    def __init__(
        self, configs: Sequence[AuditConfig], labels: Sequence[str], watcher: Watcher
    ) -> None:
        self._configs = configs
        self._watchers = [
            Labeled(watcher, f"{label} ({at} of {len(configs)})")
            for at, label in enumerate(labels, 1)
        ]
        self._loaded: Decoder | None = None

    def __iter__(self) -> Iterator[Measurements]:
        following = [*self._configs[1:], self._configs[0]]
        for config, watcher, next_one in zip(self._configs, self._watchers, following, strict=True):
            audit = Measurements(Target(config, watcher=watcher))
            if self._loaded is not None:
                audit.target.adopt(self._loaded)
            yield audit
            # Taken from the audit, which others may still hold while the next model is loaded.
            decoder = audit.target.hand_over()
            self._loaded = decoder if _model(next_one) == _model(config) else None
            if decoder is not self._loaded:
                del decoder
                gc.collect()

    def points(self, sets: Sequence["PromptSet"]) -> tuple[SweepPoint, ...]:
        """Every layer of each config, on the prompt set of its place."""
        points: list[SweepPoint] = []
        for audit, prompts in zip(self, sets, strict=True):
            audit.target.use_prompts(prompts)
            run = run_summary(audit.target)
            points += [
                point_of(audit, run, audit.layer_summary(layer)) for layer in audit.target.layers
            ]
        return tuple(points)


def _model(config: AuditConfig) -> tuple[str | None, ...]:
    """What decides how a model is loaded; its activations are rounded later."""
    return config.model, config.dtype, config.device, config.quantization


def point_of(
    audit: Measurements, run: RunSummary, layer: LayerSummary, step: int | None = None
) -> SweepPoint:
    """The point of a layer.

    Args:
        audit: the measurements of the model.
        run: their summary.
        layer: the numbers of the layer.
        step: of its training, at which the model was written.
    """
    return SweepPoint(
        model=run.model,
        revision=run.revision,
        dtype=run.dtype,
        n_layers=run.n_layers,
        prompts=run.prompts,
        prompt_hash=run.prompt_hash,
        n=run.n,
        length=audit.target.config.length,
        longest=run.longest,
        prompt_metric=run.prompt_metric,
        layer=layer.layer,
        bits=layer.bits,
        numbers=layer.numbers,
        step=step,
    )


def _all_prompts(config: AuditConfig) -> AuditConfig:
    """The config without a sample, which is drawn by what one tokenizer makes of a text."""
    if config.prompts.startswith(_MADE_TO_ORDER):
        return config
    return replace(config, max_prompts=_ALL)


def _same_number(sets: Sequence["PromptSet"], watcher: Watcher) -> list["PromptSet"]:
    n = min(map(len, sets))
    if max(map(len, sets)) > n:
        sizes = ", ".join(str(len(one)) for one in sets)
        watcher.announce(
            f"sweep: of {sizes} prompts {n} each, those of smallest hash: numbers at different N are"
            " not comparable"
        )
    return [one.subset(n) for one in sets]


def _same_texts(
    sets: Sequence["PromptSet"], most: int | None, watcher: Watcher
) -> list["PromptSet"]:
    texts = [set(one.texts or ()) for one in sets]
    common = sorted(set.intersection(*texts), key=_text_hash)[:most]
    if len(common) < _FEWEST or any(
        len(one.texts or ()) > len(set(one.texts or ())) for one in sets
    ):
        return _same_number([one.subset(min(len(one), most or len(one))) for one in sets], watcher)
    if any(len(one) > len(common) for one in sets):
        sizes = ", ".join(str(len(one)) for one in sets)
        watcher.announce(f"sweep: of {sizes} prompts {len(common)} each, the same texts")
    kept = set(common)
    return [
        one.take(
            (at for at, text in enumerate(one.texts or ()) if text in kept),
            one.name if len(one) == len(kept) else f"{one.name}[{len(kept)}]",
        )
        for one in sets
    ]


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _given(what: str, values: Sequence[T]) -> Sequence[T]:
    if not values:
        raise OptionError(f"no {what} is given: give at least one")
    if len(set(values)) < len(values):
        raise OptionError(
            f"a {what} is given twice in {', '.join(map(str, values))}: give each once"
        )
    return values
