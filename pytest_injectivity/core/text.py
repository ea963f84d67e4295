"""Makes text from outside safe to print: one line, no control sequences, a bounded length."""

import unicodedata

_LONGEST = 160


def one_line(text: str, longest: int = _LONGEST) -> str:
    r"""Put a text on one line: control and format characters escaped, cut after ``longest`` characters.

    Escape sequences would let a prompt or a checkpoint's name move the cursor, recolor a verdict
    or, with bidirectional marks, reorder what a person reads. ``##[`` would let it speak to GitHub's
    runner, which takes commands out of whatever a step prints.
    """
    shown = "".join(
        character.encode("unicode_escape").decode() if _unsafe(character) else character
        for character in text[: longest + 1]
    )
    shown = shown if len(text) <= longest else shown[:longest] + "…"
    return shown.replace("##[", r"##\x5b")


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
