"""Lines on the tokens of a vocabulary that no model can tell apart, and on its padding (SPEC section 4).

The same words stand in every verdict about tokens: which rows of the embedding are no token's, and which
tokens have the same row as another (twins), so that one of each class is tested or compared.
"""

from typing import TYPE_CHECKING

from pytest_injectivity.core.numbers import show
from pytest_injectivity.stats import clopper_pearson

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.audit.measurements.recovered import Recovered
    from pytest_injectivity.inversion.token_classes import TokenClasses

_LISTED = 3
_CONFIDENCE = 0.95
_LEAST_FOR_A_RATE = 20


def vocabulary_lines(classes: "TokenClasses", consequence: str) -> list[str]:
    """A line on twins and one on padding, each where there are any.

    Args:
        classes: of the vocabulary.
        consequence: what follows from twins in this check, as a clause.
    """
    lines = []
    if classes.twins:
        largest = max(map(len, classes.twins))
        lines.append(
            f"{classes.copied} tokens have the same embedding row as another ({classes.pairs} pairs,"
            f" {len(classes.twins)} classes, the largest of {largest}): {consequence}"
        )
    return lines + padding_lines(classes)


def padding_lines(classes: "TokenClasses") -> list[str]:
    """A line on the rows of the embedding that no token has, where there are any."""
    if not classes.left_out:
        return []
    return [f"{classes.left_out} rows of the embedding left out: no token of the tokenizer's"]


def twin_lines(measured: "Measurements", classes: "TokenClasses") -> list[str]:
    """Lines that name the first classes of tokens with equal embedding rows."""
    return [same_embedding(measured, *members.tolist()) for members in classes.twins[:_LISTED]]


def certified_lines(found: "Recovered", *, budgeted: bool) -> list[str]:
    """A line on the positions that were compared with the whole vocabulary, where there are any.

    The positions are a random draw from those of the prompts inverted, so that the exact interval holds
    for their rate whatever the prompts have in common.

    Args:
        found: the recovery.
        budgeted: whether as many were drawn as cost what the recovery did.
    """
    if not found.certified:
        return []
    until = ", until they had cost what the recovery did" if budgeted else ""
    line = (
        f"{found.certified} positions, drawn at random, passed over the whole vocabulary{until}:"
        f" {found.ambiguous} ambiguous"
    )
    if found.certified >= _LEAST_FOR_A_RATE:
        line += f", rate {clopper_pearson(found.ambiguous, found.certified, _CONFIDENCE)}"
    else:
        line += f" (no rate is stated of fewer than {_LEAST_FOR_A_RATE})"
    if found.smallest_margin is not None:
        line += f", smallest local margin {show(found.smallest_margin)}"
    return [line]


def token_words(measured: "Measurements", token: int, *, twin: bool) -> str:
    """What the vocabulary has to do with a position that failed, after a colon; empty for nothing.

    Args:
        measured: of the model.
        token: the true token of the position.
        twin: whether the token found there has the embedding row of another.
    """
    classes = measured.token_classes
    if not classes.has(token):
        return ": its token is a row of the embedding that no token of the tokenizer has"
    others = classes.twins_of(token) if twin else ()
    return f": {same_embedding(measured, token, *others)}" if others else ""


def same_embedding(measured: "Measurements", token: int, *others: int) -> str:
    """The words on a token whose embedding row other tokens have too."""
    name, *more = (measured.target.name_of_token(one) for one in (token, *others[:_LISTED]))
    beyond = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    return f"{name} has the same embedding as {', '.join(more)}{beyond}"
