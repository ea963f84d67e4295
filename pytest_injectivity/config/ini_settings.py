"""What the ini of a suite says of prompts, layers and the machine, for a command that runs no test."""

from collections.abc import Mapping
from typing import Any

from pytest_injectivity.config.audit_config import AuditConfig, config_from
from pytest_injectivity.config.options import ini_name, options
from pytest_injectivity.errors import OptionError

_TRUE = {"1", "on", "t", "true", "y", "yes"}
_FALSE = {"0", "f", "false", "n", "no", "off"}

# What is about the model, or about a run of tests.
_OTHERS = {"activation_bits", "dtype", "model", "quantization", "reference", "states"}
_OTHERS |= {"baseline", "plan", "release", "report", "require", "tflops", "update_baseline"}


def config_with_ini(ini: Mapping[str, str], given: Mapping[str, Any]) -> AuditConfig:
    """The config of values that are given, and of those that an ini has on prompts, layers and machine.

    Args:
        ini: the values of the section ``[pytest]``, as text.
        given: values by field name, which win.

    Raises:
        OptionError: a value is not accepted.

    >>> ini = {"injx_prompts": "mine.txt", "injx_no_cache": "true", "injx_reference": "elsewhere"}
    >>> config = config_with_ini(ini, {"max_prompts": 20})
    >>> config.prompts, config.no_cache, config.max_prompts, config.reference
    ('mine.txt', True, 20, None)
    """
    found: dict[str, object] = {}
    for option in options():
        text = ini.get(ini_name(option))
        if text is not None and option.name not in _OTHERS:
            switch = "switch" in option.metadata
            found[option.name] = _truth(ini_name(option), text) if switch else text
    return config_from(given, found)


def _truth(name: str, text: str) -> bool:
    if (said := text.strip().lower()) in _TRUE | _FALSE:
        return said in _TRUE
    raise OptionError(f"{name}: {text!r} is not accepted: give true or false")
