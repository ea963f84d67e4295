"""Pieces of HTML for notebooks: every text is escaped and without control characters; no script."""

from html import escape

from pytest_injectivity.core.text import one_line

_LONGEST = 4000


def words(text: object) -> str:
    """A text from outside as HTML.

    >>> words("<b>1 & 2")
    '&lt;b&gt;1 &amp; 2'
    """
    return escape(one_line(str(text), _LONGEST))


def element(tag: str, *inside: str, **attributes: object) -> str:
    """An element around HTML; an underscore at the end of an attribute's name is left out.

    >>> element("td", words("a<b"), class_="number")
    '<td class="number">a&lt;b</td>'
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{words(value)}"'
        for name, value in attributes.items()
        if value
    )
    return f"<{tag}{given}>{''.join(inside)}</{tag}>"


def emphasis(text: object, *, good: bool) -> str:
    """A text that is green or red, on light and on dark pages."""
    return element("strong", words(text), style=f"color:{'#2e8b57' if good else '#d9534f'}")
