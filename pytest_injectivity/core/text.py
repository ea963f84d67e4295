"""Text that is printed: what comes from outside made safe, numbers with their nouns."""

import unicodedata

_LONGEST = 160


def one_line(text: str, longest: int = _LONGEST) -> str:
    r"""Put a text on one line: control and format characters escaped, cut after ``longest`` characters.

    Escape sequences would let a prompt or a checkpoint's name move the cursor, recolor a verdict
    or, with bidirectional marks, reorder what a person reads. ``##[`` would let it speak to GitHub's
    runner, which takes commands out of whatever a step prints.
    """
    shown = text[: longest + 1]
    # What is printable, as most texts are, has no unsafe character; to look at each takes far longer.
    if not shown.isprintable():
        shown = "".join(
            character.encode("unicode_escape").decode() if _unsafe(character) else character
            for character in shown
        )
    shown = shown if len(text) <= longest else shown[:longest] + "…"
    return shown.replace("##[", r"##\x5b")


def number_of(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun, in the singular for 1.

    Args:
        number: how many.
        noun: in the singular.
        nouns: in the plural; empty: with an ``s``.

    Example:
        >>> number_of(1, "rival"), number_of(1200, "rival"), number_of(0, "class", "classes")
        ('1 rival', '1,200 rivals', '0 classes')
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def verb(number: int, one: str, many: str) -> str:
    """The form of a verb that goes with a number of things.

    Example:
        >>> [verb(n, "is", "are") for n in (1, 2)]
        ['is', 'are']
    """
    return one if number == 1 else many


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
