"""An extension of griffe: a docstring's ``Example:`` is code on the site, as ``Examples:`` is."""

import re

import griffe

_HEADING = re.compile(r"^( *)Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Renames the section before it is parsed: griffe knows the plural only."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Of every class, function and module."""
        if obj.docstring is not None:
            obj.docstring.value = _HEADING.sub(r"\1Examples:", obj.docstring.value)
