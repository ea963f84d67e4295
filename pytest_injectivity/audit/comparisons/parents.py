"""The parent of a quantized model: the checkpoint it was made from, audited on the same prompts."""

from dataclasses import fields, replace

from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.audit.target.alike import VOCABULARY, other_ids, shape_of
from pytest_injectivity.audit.target.same_model import is_same_model
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.errors import OptionError

# The options that say what the model is and how it is loaded; the parent shares all others.
_ITS_OWN = {"model", "quantization", "dtype", "states", "reference", "activation_bits"}


def parent_target(child: Target, source: str) -> Target:
    """The parent as it is named, on the same prompts: neither compared with the model, nor loaded.

    Args:
        child: the model.
        source: the parent's checkpoint; it is loaded as it is stored.
    """
    defaults = AuditConfig()
    own = {
        option.name: getattr(defaults, option.name)
        for option in fields(AuditConfig)
        if option.name in _ITS_OWN
    }
    return Target(replace(child.config, **own | {"model": source}), **child.process)


def parent_of(child: Target, parent: Target) -> Measurements:
    """The measurements of the parent on the same prompts, kept in the same store.

    Args:
        child: the model.
        parent: its parent, as `parent_target` makes it.

    Raises:
        OptionError: it is no parent of the model: another shape, other token ids for the same prompts,
            or the very same model.
        ModelError: it cannot be audited.
    """
    _check_shape(child, parent)
    parent.stand_beside(child)
    _check_model(child, parent)
    _check_ids(child, parent)
    parent.use_prompts(child.prompts)
    return Measurements(parent)


def _check_shape(child: Target, parent: Target) -> None:
    """Refuses a parent of another shape; reads the two configurations and no weights.

    An embedding may be padded: rows that only one of the models has are no difference where the
    tokenizers are one and know no token of them.
    """
    shapes = [shape_of(one) for one in (child, parent)]
    other = [name for name in shapes[0] if shapes[0][name] != shapes[1][name]]
    used = ""
    if other == [VOCABULARY]:
        from pytest_injectivity.reference.same_tokenizer import tokens_beyond

        used = tokens_beyond(
            (child.tokenizer, parent.tokenizer), min(one[VOCABULARY] for one in shapes)
        )
        if not used:
            return
        used = f", and {used}"
    if other:
        told = ", ".join(f"{name} {shapes[0][name]} and {shapes[1][name]}" for name in other)
        raise OptionError(
            f"--injx-reference={parent.config.model} is no parent of {child.config.model}: {told}{used};"
            " give the checkpoint that it was quantized from"
        )


def _check_model(child: Target, parent: Target) -> None:
    """Refuses the very same weights, which keep all of their own numbers whatever the config says."""
    if is_same_model(child, parent):
        raise OptionError(
            f"--injx-reference={parent.config.model} has the weights of the model audited,"
            f" {child.config.model}, loaded the same way: comparing a model with itself proves"
            f" nothing{_told(child, parent)}; give the checkpoint that it was made from, or quantize it"
            " (--injx-quantization, --injx-dtype)"
        )


def _check_ids(child: Target, parent: Target) -> None:
    """Refuses a parent whose tokenizer gives other ids to the same texts."""
    if (other := other_ids(child, parent)) is not None:
        raise OptionError(
            f"--injx-reference={parent.config.model} has another tokenizer: of"
            f" {len(child.prompts)} prompts {other} have other token ids{_told(child, parent)};"
            f" give the checkpoint that {child.config.model} was quantized from, or prompts as token ids"
        )


def _told(child: Target, parent: Target) -> str:
    """What makes the model another function than its parent, to end a sentence with."""
    from pytest_injectivity.reference.differences import difference_lines
    from pytest_injectivity.reference.same_function import function_differences

    found = function_differences(child.checkpoint, parent.checkpoint)
    return "".join(f"; {line}" for line in difference_lines(found))
