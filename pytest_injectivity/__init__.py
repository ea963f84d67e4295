"""Audit how invertible a causal language model is, from pytest or from a script.

Nothing heavy is imported by importing the package: torch and transformers come with the first model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_injectivity.audit.along_training import Trajectory
    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.audit.one_step_margins import OneStepMargin, one_step_margins
    from pytest_injectivity.audit.showing import figures, tables
    from pytest_injectivity.audit.sweeps import compare_models, sweep_bits, sweep_lengths
    from pytest_injectivity.config.audit_config import AuditConfig
    from pytest_injectivity.config.release_place import Place
    from pytest_injectivity.config.release_spec import ReleaseSpec
    from pytest_injectivity.core.interval import Interval
    from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id, resolve_layers
    from pytest_injectivity.errors import (
        GateFailure,
        InjectivityError,
        LayerError,
        MissingExtra,
        ModelError,
        OptionError,
        PromptError,
        WorkersDied,
        WrongUse,
    )
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.models.loading import load_decoder
    from pytest_injectivity.models.training_steps import list_checkpoints, log_spaced
    from pytest_injectivity.privacy.releases.custom import CustomRelease
    from pytest_injectivity.prompts.loading import load_prompts
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.quantization.grid import Grid
    from pytest_injectivity.reports.courses import write_course
    from pytest_injectivity.reports.curves import write_picture
    from pytest_injectivity.results.releases import PrivacyCurve, write_curves
    from pytest_injectivity.results.sweeps import (
        SweepPoint,
        first_collisions,
        smallest_distances,
        write_figure,
    )
    from pytest_injectivity.results.verdict import Reason, Status, Verdict
    from pytest_injectivity.scale.ray_workers import RayWorkers
    from pytest_injectivity.states.external import save_states
    from pytest_injectivity.thresholds.rows import threshold_for

# pytest imports this package on every start: each name is imported when it is used.
_LAZY = {
    "Audit": "audit.audit",
    "AuditConfig": "config.audit_config",
    "CustomRelease": "privacy.releases.custom",
    "Decoder": "models.decoder",
    "GateFailure": "errors",
    "Grid": "quantization.grid",
    "InjectivityError": "errors",
    "Interval": "core.interval",
    "Layer": "core.layers",
    "LayerError": "errors",
    "LayerSpec": "core.layers",
    "MissingExtra": "errors",
    "ModelError": "errors",
    "OneStepMargin": "audit.one_step_margins",
    "OptionError": "errors",
    "Place": "config.release_place",
    "PrivacyCurve": "results.releases",
    "PromptError": "errors",
    "PromptSet": "prompts.promptset",
    "RayWorkers": "scale.ray_workers",
    "Reason": "results.verdict",
    "ReleaseSpec": "config.release_spec",
    "Status": "results.verdict",
    "SweepPoint": "results.sweeps",
    "Trajectory": "audit.along_training",
    "Verdict": "results.verdict",
    "WorkersDied": "errors",
    "WrongUse": "errors",
    "compare_models": "audit.sweeps",
    "figures": "audit.showing",
    "first_collisions": "results.sweeps",
    "layer_id": "core.layers",
    "list_checkpoints": "models.training_steps",
    "load_decoder": "models.loading",
    "load_prompts": "prompts.loading",
    "log_spaced": "models.training_steps",
    "one_step_margins": "audit.one_step_margins",
    "resolve_layers": "core.layers",
    "save_states": "states.external",
    "smallest_distances": "results.sweeps",
    "sweep_bits": "audit.sweeps",
    "sweep_lengths": "audit.sweeps",
    "tables": "audit.showing",
    "threshold_for": "thresholds.rows",
    "write_course": "reports.courses",
    "write_curves": "results.releases",
    "write_figure": "results.sweeps",
    "write_picture": "reports.curves",
}

__all__ = [
    "Audit",
    "AuditConfig",
    "CustomRelease",
    "Decoder",
    "GateFailure",
    "Grid",
    "InjectivityError",
    "Interval",
    "Layer",
    "LayerError",
    "LayerSpec",
    "MissingExtra",
    "ModelError",
    "OneStepMargin",
    "OptionError",
    "Place",
    "PrivacyCurve",
    "PromptError",
    "PromptSet",
    "RayWorkers",
    "Reason",
    "ReleaseSpec",
    "Status",
    "SweepPoint",
    "Trajectory",
    "Verdict",
    "WorkersDied",
    "WrongUse",
    "compare_models",
    "figures",
    "first_collisions",
    "layer_id",
    "list_checkpoints",
    "load_decoder",
    "load_prompts",
    "log_spaced",
    "one_step_margins",
    "resolve_layers",
    "save_states",
    "smallest_distances",
    "sweep_bits",
    "sweep_lengths",
    "tables",
    "threshold_for",
    "write_course",
    "write_curves",
    "write_figure",
    "write_picture",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
