"""The differences of a child's configuration and tokenizer from its parent's, as data and as lines.

Both files are untrusted: what is quoted of them is cut and made safe to print.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_injectivity.core.numbers import show_apart
from pytest_injectivity.core.text import number_of, one_line

_LONGEST = 48
_BEFORE = 12
_MOST_LISTED = 8


class Effect(StrEnum):
    """What a difference does to the function that a model computes of texts."""

    CHANGES = "changes the function"
    MAY = "may change the function"


@dataclass(frozen=True)
class Difference:
    """One field in which a child differs from its parent.

    Attributes:
        field: its name: of the configuration, ``rope_parameters.rope_theta``; or of the tokenizer,
            ``tokenizer.merges``.
        child: the child's value, as text.
        parent: the parent's value, as text.
        effect: what the difference does.

    Example:
        >>> Difference("rms_norm_eps", "1e-05", "1e-06", Effect.CHANGES).words
        'rms_norm_eps 1e-05 (parent 1e-06)'
    """

    field: str
    child: str
    parent: str
    effect: Effect

    @property
    def words(self) -> str:
        """The field with both values."""
        return f"{self.field} {self.child} (parent {self.parent})"


def difference(field: str, values: Iterable[object], effect: Effect) -> Difference:
    """A difference with both values as short texts; long ones are shown from where they differ.

    Args:
        field: as in `Difference`, which may come from a file.
        values: the child's and the parent's.
        effect: what the difference does.
    """
    child, parent = _texts(*values)
    start = 0
    if max(len(child), len(parent)) > _LONGEST:
        start = max(0, _common_beginning(child, parent) - _BEFORE)
    return Difference(
        one_line(field, _LONGEST), _shown(child, start), _shown(parent, start), effect
    )


def difference_lines(differences: Sequence[Difference]) -> tuple[str, ...]:
    """The differences as lines of a verdict: those that change the function, then those that may.

    Example:
        >>> difference_lines([Difference("hidden_act", "gelu", "silu", Effect.CHANGES)])
        ("config differs from the parent's: hidden_act gelu (parent silu)",)
    """
    found = [
        (begins, [one for one in differences if one.effect is effect])
        for effect, begins in (
            (Effect.CHANGES, "config differs from the parent's"),
            (Effect.MAY, "config differs where it may change the function"),
        )
    ]
    return tuple(f"{begins}: {_listed(some)}" for begins, some in found if some)


def _texts(child: object, parent: object) -> tuple[str, str]:
    if isinstance(child, float) and isinstance(parent, float):
        return show_apart(child, parent)
    texts = [one if isinstance(one, str) else repr(one) for one in (child, parent)]
    return texts[0], texts[1]


def _shown(text: str, start: int) -> str:
    before = "…" if start else ""
    return one_line(before + text[start : start + _LONGEST + 1], _LONGEST)


def _listed(differences: Sequence[Difference]) -> str:
    told = ", ".join(one.words for one in differences[:_MOST_LISTED])
    left = len(differences) - _MOST_LISTED
    return told if left <= 0 else f"{told} and {number_of(left, 'more field')}"


def _common_beginning(left: str, right: str) -> int:
    """How many characters two texts have in common from their beginning."""
    pairs = zip(left, right, strict=False)
    shorter = min(len(left), len(right))
    return next((at for at, (one, other) in enumerate(pairs) if one != other), shorter)
