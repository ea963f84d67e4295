"""What two targets have to have in common before their numbers are compared."""

from pytest_injectivity.audit.target.target import Target

VOCABULARY = "vocabulary"


def shape_of(audited: Target) -> dict[str, int]:
    """The sizes of a model by their names, from its configuration: no weights are loaded."""
    config = audited.checkpoint.config.get_text_config()
    return {
        "layers": int(config.num_hidden_layers),
        "hidden size": int(config.hidden_size),
        VOCABULARY: int(config.vocab_size),
    }


def other_ids(one: Target, other: Target) -> int | None:
    """How many prompts of a target have other token ids for another one; None: they are one prompt set.

    Prompts that are token ids are the same for all, and a model without a tokenizer takes those it gets.

    Raises:
        PromptError: the prompts cannot be audited by one of them.
    """
    prompts = one.prompts
    if prompts.texts is None or other.tokenizer is None:
        return None
    from pytest_injectivity.reference.same_tokenizer import tokenizer_rules

    rules = tokenizer_rules(one.tokenizer)
    if rules is not None and rules == tokenizer_rules(other.tokenizer):
        return None
    theirs = other.prompts.ids
    if prompts.ids == theirs:
        return None
    return len(prompts) - len(set(prompts.ids) & set(theirs))
