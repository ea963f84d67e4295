"""Lines on the tokens of a vocabulary that no model can tell apart, and on its padding (SPEC section 4).

The same words stand in every verdict about tokens: which rows of the embedding are no token's, and which
tokens have the same row as another (twins), so that one of each class is tested or compared.
"""

from typing import TYPE_CHECKING

from pytest_injectivity.core.text import number_of

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.inversion.token_classes import TokenClasses

_LISTED = 3


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
            f"{classes.copied} tokens have the same embedding row as another"
            f" ({number_of(classes.pairs, 'pair')}, {number_of(len(classes.twins), 'class', 'classes')},"
            f" the largest of {largest}): {consequence}"
        )
    return lines + padding_lines(classes)


def padding_lines(classes: "TokenClasses") -> list[str]:
    """A line on the rows of the embedding that no token has, where there are any."""
    if not classes.left_out:
        return []
    return [
        f"{number_of(classes.left_out, 'row')} of the embedding left out: no token of the tokenizer's"
    ]


def twin_lines(measured: "Measurements", classes: "TokenClasses") -> list[str]:
    """Lines that name the first classes of tokens with equal embedding rows."""
    return [same_embedding(measured, *members.tolist()) for members in classes.twins[:_LISTED]]


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
