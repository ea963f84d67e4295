"""Judges whether a model computes the same function as its parent, apart from its weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Reason, Status, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.judging.base import Audited
    from pytest_injectivity.reference.differences import Difference

_QUANTITY = "fields that differ"


def check_same_function(audit: "Audited", accepted: Sequence[str] = ()) -> Verdict:
    """The model's configuration, tokenizer and chat template make it the function that its parent is.

    Fields are compared where they change what is computed of a text, with defaults filled in: rotary
    embeddings, epsilon of norms, activation, windows, context, soft-capping, factors, heads, experts,
    special tokens, the rules of the tokenizer. A field that no rule knows is INSUFFICIENT, because it
    may change the function. No weights are compared (SPEC section 7, "Same function?").

    Args:
        audit: the audit whose model is judged.
        accepted: the names of fields that may differ, such as ``("chat_template",)``; a name stands for
            the fields inside it too.

    Raises:
        OptionError: no reference is named, or ``accepted`` is no list of names.
        ModelError: a configuration or a tokenizer cannot be read.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_same_function().passed
        True
    """
    listed = isinstance(accepted, (list, tuple, set, frozenset))
    if not listed or not all(isinstance(one, str) for one in accepted):
        raise OptionError(f"accepted={accepted!r}: give a list of names of fields")
    found = audit.comparisons.differences
    reasons = [_judged(one, accepted) for one in found] or [_equal()]
    red = sum(one.status is not Status.PASS for one in reasons)
    notes = [f"against {one_line(audit.comparisons.parent.config.model)}"]
    if red:
        notes.append(
            f"{number_of(red, 'field')} of configuration and tokenizer; no weights compared"
        )
    return audit.verdict("same_function", reasons, notes)


def _judged(one: "Difference", accepted: Sequence[str]) -> Reason:
    from pytest_injectivity.reference.differences import Effect

    # A field may say how much of it differs: "tokenizer.vocab (3 tokens)".
    named = one.field.partition(" (")[0]
    allowed = any(name in {one.field, named} or named.startswith(f"{name}.") for name in accepted)
    status = Status.FAIL if one.effect is Effect.CHANGES else Status.INSUFFICIENT
    return Reason(
        where=one.field,
        status=Status.PASS if allowed else status,
        quantity=_QUANTITY,
        value=1.0,
        bound=0.0,
        relation="<=",
        headline=f"{one.child} (parent {one.parent})",
        evidence=(str(one.effect),),
        would_pass=f"accepted=[{one.field!r}], if it is meant",
        unit="field",
    )


def _equal() -> Reason:
    return Reason(
        where="config and tokenizer",
        status=Status.PASS,
        quantity=_QUANTITY,
        value=0.0,
        bound=0.0,
        relation="<=",
        unit="field",
    )
