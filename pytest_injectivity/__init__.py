"""Audit how invertible a causal language model is, from pytest or from a script.

Nothing heavy is imported by importing the package: torch and transformers come with the first model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_injectivity.errors import (
    GateFailure,
    InjectivityError,
    LayerError,
    MissingExtra,
    ModelError,
    OptionError,
    PromptError,
    WrongUse,
)

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.audit.sweeps import compare_models, sweep_bits, sweep_lengths
    from pytest_injectivity.config.audit_config import AuditConfig
    from pytest_injectivity.core.interval import Interval
    from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id, resolve_layers
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.models.loading import load_decoder
    from pytest_injectivity.privacy.releases.custom import CustomRelease
    from pytest_injectivity.prompts.loading import load_prompts
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.quantization.grid import Grid
    from pytest_injectivity.results.sweeps import SweepPoint
    from pytest_injectivity.results.verdict import Reason, Status, Verdict
    from pytest_injectivity.states.external import save_states

# pytest imports this package on every start: what is not an error waits until it is used.
_LAZY = {
    "Audit": "audit.audit",
    "AuditConfig": "config.audit_config",
    "Decoder": "models.decoder",
    "Grid": "quantization.grid",
    "Interval": "core.interval",
    "Layer": "core.layers",
    "LayerSpec": "core.layers",
    "CustomRelease": "privacy.releases.custom",
    "PromptSet": "prompts.promptset",
    "Reason": "results.verdict",
    "Status": "results.verdict",
    "SweepPoint": "results.sweeps",
    "Verdict": "results.verdict",
    "compare_models": "audit.sweeps",
    "layer_id": "core.layers",
    "load_decoder": "models.loading",
    "load_prompts": "prompts.loading",
    "resolve_layers": "core.layers",
    "save_states": "states.external",
    "sweep_bits": "audit.sweeps",
    "sweep_lengths": "audit.sweeps",
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
    "OptionError",
    "PromptError",
    "PromptSet",
    "Reason",
    "Status",
    "SweepPoint",
    "Verdict",
    "WrongUse",
    "compare_models",
    "layer_id",
    "load_decoder",
    "load_prompts",
    "resolve_layers",
    "save_states",
    "sweep_bits",
    "sweep_lengths",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
