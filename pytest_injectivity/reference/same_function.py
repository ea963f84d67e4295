"""Compares the functions of a child and its parent by configuration and tokenizer, without weights."""

from pytest_injectivity.models.checkpoint import Checkpoint
from pytest_injectivity.reference.differences import Difference
from pytest_injectivity.reference.same_config import config_differences
from pytest_injectivity.reference.same_tokenizer import tokenizer_differences


def function_differences(child: Checkpoint, parent: Checkpoint) -> tuple[Difference, ...]:
    """The fields in which a child is another function than its parent, whatever the weights are.

    Compared are the configurations with defaults filled in, the rules of the tokenizers, their special
    tokens and their chat templates (SPEC section 7, "Same function?"). What is only written otherwise is
    no difference: the dtype, the quantization, names, training settings, and rules of a ``.gguf`` file
    that give texts the same token ids.

    Args:
        child: the checkpoint that was made.
        parent: the checkpoint that it was made from.

    Raises:
        ModelError: a tokenizer cannot be loaded, or cannot encode a text.

    Example:
        >>> from pytest_injectivity.models.checkpoint import resolve
        >>> shipped = resolve("builtin:gpt2-stdlib")
        >>> function_differences(shipped, shipped)
        ()
    """
    tokenizers = (child.tokenizer, parent.tokenizer)
    converted = child.gguf is not None or parent.gguf is not None
    found = config_differences(child.config, parent.config, tokenizers, converted=converted)
    return found + tokenizer_differences(*tokenizers, converted=converted)
