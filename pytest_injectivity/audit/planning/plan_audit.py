"""Plans an audit from the calls of its checks: loads the model and times it, and runs nothing else."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.along_training import others_of
from pytest_injectivity.audit.planning.needs import Asked, needs_of
from pytest_injectivity.audit.planning.phases import Loading, joined, phases_of, unforeseen_of
from pytest_injectivity.audit.planning.sharing import sharing
from pytest_injectivity.audit.target.beginnings import special_beginning
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.audit.target.told_loading import BYTES_A_SECOND
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.progress import Watcher
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import InjectivityError
from pytest_injectivity.plan.memory import Holdings
from pytest_injectivity.results.plan import Plan

if TYPE_CHECKING:
    from pytest_injectivity.plan.rates import Rates

_LONGEST = 200
READ_A_SECOND = 1e9
"""How fast blocks that stay on disk are assumed to be read."""


def plan_audit(
    config: AuditConfig, asked: Sequence[Asked], *, watcher: Watcher | None = None
) -> Plan:
    """Predicts what the calls of some checks take together, as if the store were empty.

    The model and the prompts are loaded, and the model is timed; or, where the config states a machine's
    TFLOP/s, the model's configuration is read and no weights are. No state is captured, nothing is
    searched or inverted, and nothing is written to the store.

    Args:
        config: what is audited and how.
        asked: the calls.
        watcher: receives progress.

    Raises:
        ModelError: the model cannot be audited.
        PromptError: the prompts cannot.
        LayerError: a check asks for a layer that the model does not have.
    """
    # Facts on the model and public prompts would be kept in the store.
    own = replace(config, no_cache=True, plan=False)
    target = Target(own, watcher=watcher, described=config.tflops is not None)
    loaded, rates, said = _described(target) if target.described else _timed(target)
    foretelling, prompts = target.foretelling, target.prompts
    releases = list(map(str, config.release))
    needs = joined(
        [
            need
            for one in asked
            for need in needs_of(_listed(one, target), target.n_layers, config.layers, releases)
        ],
        target.layers,
    )
    sizes, costs = foretelling.sizes, foretelling.costs(rates)
    held = Holdings.of(
        sizes,
        prompts=len(prompts),
        tokens=costs.capture_passes.tokens,
        layers=len(target.layers),
    )
    loading = Loading(
        one_line(config.model, _LONGEST),
        one_line(config.reference or "", _LONGEST),
        loaded,
        sizes.parameters * sizes.state_bytes // sizes.hidden,
        beginnings=1 + bool(special_beginning(target)),
    )
    return Plan(
        phases=phases_of(needs, costs, loading),
        model=(
            f"{loading.model}: {number_of(sizes.n_layers, 'layer')}, d {sizes.hidden}, vocabulary"
            f" {sizes.vocab:,}, {sizes.dtype} on {target.kept.device}"
        ),
        prompts=(
            f"{len(prompts):,} of {one_line(prompts.name, _LONGEST)}, {int(prompts.lengths.min())} to"
            f" {prompts.longest} tokens"
        ),
        memory=held.words(
            workers=config.workers if isinstance(config.workers, int) else 0,
            streamed=_may_stream(target),
        ),
        rates=said,
        sharing=sharing(config.workers, target.kept.devices, rows=len(prompts), width=sizes.hidden),
        unforeseen=unforeseen_of(needs),
    )


def _listed(asked: Asked, target: Target) -> Asked:
    """A call with the other checkpoints of a training by step, or why they are not known."""
    if asked.check != "stable_along_training":
        return asked
    try:
        found: object = others_of(target, asked.arguments.get("checkpoints"))
    except InjectivityError as error:
        # That of a run may be an argument that only running the test would give.
        found = str(error)
    return replace(asked, arguments={**asked.arguments, "checkpoints": found})


def _may_stream(target: Target) -> bool:
    """Whether blocks can stay on disk, as far as it is known before the weights are read."""
    if target.config.dtype == "float64":
        return False
    quantized = None if target.described else target.unrounded.quantized
    return quantized is None or quantized.dense


def _timed(target: Target) -> tuple[float, "Rates", str]:
    """The seconds that loading takes, the rates of this machine, and where they come from."""
    begun = time.perf_counter()
    target.unrounded  # noqa: B018 - loads it
    loaded = time.perf_counter() - begun
    begun = time.perf_counter()
    rates = target.foretelling.rates
    return loaded, rates, rates.said(time.perf_counter() - begun)


def _described(target: Target) -> tuple[float, "Rates", str]:
    """The same for a machine of stated TFLOP/s, where no weights are loaded."""
    from pytest_injectivity.plan.rates import Rates

    sizes, tflops = target.foretelling.sizes, target.config.tflops
    assert tflops is not None  # noqa: S101 - only called where it is given
    read = READ_A_SECOND if target.streams else 0.0
    rates = Rates.assumed(sizes, tflops, read=read)
    weights = sizes.parameters * sizes.number_bytes
    return weights / (READ_A_SECOND if target.streams else BYTES_A_SECOND), rates, rates.said(0.0)
