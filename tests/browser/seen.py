"""A page as chromium shows it: what it says to the console, what it fetches, what axe-core finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_GRAVE = ("serious", "critical")
_OPEN = "for (const one of document.querySelectorAll('details')) one.open = true"
_SCROLLED = (
    "[...document.querySelectorAll('.verdicts .scroll')]"
    ".filter(one => one.scrollWidth > one.clientWidth).length"
)


@dataclass(frozen=True)
class Seen:
    """What a browser makes of a page with everything on it unfolded.

    Attributes:
        said: messages of the console, errors and dialogs.
        fetched: what was asked for beside the page itself.
        grave: serious findings of axe-core, each with the element and its reason.
        checked: how many rules of axe-core the page keeps.
        scrolled: tables of verdicts that are wider than their place.
        width: how wide the page is, which is more than the window where it does not fit.
        heading: of the first level.
        text: all of it.
    """

    said: list[str]
    fetched: list[str]
    grave: list[str]
    checked: int
    scrolled: int
    width: int
    heading: str
    text: str


def look(browser: "Browser", path: Path, width: int = 1400, scheme: str = "light") -> Seen:
    """Open a page, in a window of this width, on a light or a dark screen."""
    from axe_playwright_python.sync_playwright import Axe

    said: list[str] = []
    fetched: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(path.as_uri())
        page.evaluate(_OPEN)
        found = Axe().run(page).response
        return Seen(
            said=said,
            fetched=[one for one in fetched if one != path.as_uri()],
            grave=[
                f"{one['id']}: {node['html']}: {node['failureSummary']}"
                for one in found["violations"]
                if one["impact"] in _GRAVE
                for node in one["nodes"]
            ],
            checked=len(found["passes"]),
            scrolled=page.evaluate(_SCROLLED),
            width=page.evaluate("document.documentElement.scrollWidth"),
            heading=page.locator("h1").inner_text() if page.locator("h1").count() else "",
            text=page.locator("body").inner_text(),
        )
    finally:
        page.close()
