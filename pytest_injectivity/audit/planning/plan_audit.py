"""Plans an audit from the calls of its checks: loads the model and times it, and runs nothing else."""

import time
from collections.abc import Sequence
from dataclasses import replace

from pytest_injectivity.audit.planning.needs import Asked, needs_of
from pytest_injectivity.audit.planning.phases import Loading, joined, phases_of, unforeseen_of
from pytest_injectivity.audit.target.beginnings import special_beginning
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.progress import Watcher
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.results.plan import Plan

_LONGEST = 200


def plan_audit(
    config: AuditConfig, asked: Sequence[Asked], *, watcher: Watcher | None = None
) -> Plan:
    """Predicts what the calls of some checks take together, as if the store were empty.

    The model and the prompts are loaded, and the model is timed. No state is captured, nothing is
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
    target = Target(replace(config, no_cache=True, plan=False), watcher=watcher)
    begun = time.perf_counter()
    target.unrounded  # noqa: B018 - loads it
    loaded = time.perf_counter() - begun
    foretelling, prompts = target.foretelling, target.prompts
    begun = time.perf_counter()
    rates = foretelling.rates
    calibrated = time.perf_counter() - begun
    releases = list(map(str, config.release))
    needs = joined(
        [need for one in asked for need in needs_of(one, target.n_layers, config.layers, releases)],
        target.layers,
    )
    sizes = foretelling.sizes
    loading = Loading(
        one_line(config.model, _LONGEST),
        one_line(config.reference or "", _LONGEST),
        loaded,
        sizes.parameters * sizes.state_bytes // sizes.hidden,
        beginnings=1 + bool(special_beginning(target)),
    )
    return Plan(
        phases=phases_of(needs, foretelling.costs(rates), loading),
        model=(
            f"{loading.model}: {number_of(sizes.n_layers, 'layer')}, d {sizes.hidden}, vocabulary"
            f" {sizes.vocab:,}, {sizes.dtype} on {target.kept.device}"
        ),
        prompts=(
            f"{len(prompts):,} of {one_line(prompts.name, _LONGEST)}, {int(prompts.lengths.min())} to"
            f" {prompts.longest} tokens"
        ),
        rates=rates.said(calibrated),
        unforeseen=unforeseen_of(needs),
    )
