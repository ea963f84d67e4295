"""Loads the prompts of a target: from its source, or from the store where they are public."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from pytest_injectivity.audit.target.prompt_settings import prompt_settings, stdlib_key
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.errors import PromptError

if TYPE_CHECKING:
    from pytest_injectivity.audit.target.target_store import Kept
    from pytest_injectivity.models.checkpoint import Checkpoint
    from pytest_injectivity.models.facts import ModelFacts
    from pytest_injectivity.prompts.promptset import PromptSet


class Prompted(Protocol):
    """The parts of a `Target` that prompts are loaded by."""

    @property
    def config(self) -> AuditConfig:
        """What is audited and how."""

    @property
    def checkpoint(self) -> "Checkpoint":
        """The model's checkpoint."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""

    @property
    def facts(self) -> "ModelFacts":
        """Facts on the model."""

    @property
    def kept(self) -> "Kept":
        """The store."""

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""

    @property
    def described(self) -> bool:
        """Whether nothing is known of the model but its configuration, and nothing is stored."""

    def use(self, option: str) -> None:
        """Remember that the value of an option was used."""


def load_prompts(target: Prompted) -> "PromptSet":
    """The prompt set that a target's config names, tokenized for its model.

    Args:
        target: the target.

    Raises:
        PromptError: the prompts cannot be audited; what makes the model another function than the
            reference that is named stands before the reason, which it may explain.
    """
    try:
        return _stored(target)
    except PromptError as error:
        # A context that was cut, or another tokenizer, explains what the prompts alone do not.
        said = _unlike_reference(target)
        raise PromptError(f"{said}{error}") if said else error from None


def _unlike_reference(target: Prompted) -> str:
    """What makes the model another function than the reference that is named, if anything."""
    if target.config.reference is None:
        return ""
    from pytest_injectivity.models.checkpoint import resolve
    from pytest_injectivity.reference.differences import difference_lines
    from pytest_injectivity.reference.same_function import function_differences

    found = function_differences(target.checkpoint, resolve(target.config.reference))
    return "".join(f"{line}; " for line in difference_lines(found))


def _stored(target: Prompted) -> "PromptSet":
    if target.config.prompts != "builtin:stdlib" or target.described:
        prompts = _read(target)
        if prompts.templated:
            target.use("conversations")
        return prompts
    # These texts are public and may be stored; parsing and tokenizing take most of a warm run.
    return target.kept.model.remember(stdlib_key(target.config), lambda: _read(target))


def _read(target: Prompted) -> "PromptSet":
    from pytest_injectivity.prompts.loading import check_source, load_with

    source, settings = target.config.prompts, prompt_settings(target.config)
    if not target.loaded:  # the facts may take minutes to load, a wrong file a moment to refuse
        check_source(source, target.tokenizer, settings)
    facts = target.facts
    settings = replace(settings, context=facts.context, vocab_size=facts.vocab_size)
    return load_with(source, target.tokenizer, settings)
