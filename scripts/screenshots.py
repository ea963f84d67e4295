"""Pictures of a page of --injx-report=html, as docs/ keeps them: ./dev screenshots PAGE NAME.

Writes NAME-360.png, NAME-1400.png and NAME-1400-dark.png: the top of the page on a phone, on a screen
and on a dark one; and NAME-top.png, what the README shows: all down to the map of verdicts. They have at
most 256 colors, so that each is small. It needs what the tests marked browser need.
"""

import argparse
import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

VIEWS = ((360, "light"), (1400, "light"), (1400, "dark"))
TOP = "#overview"
"""The section that the picture of the top ends with."""
COLORS = 256


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("name", help="of the files, with their folder")
    parser.add_argument("--height", type=int, default=2200, help="of the top; 0: all of the page")
    given = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        sys.exit("no chromium is installed: apt-get install chromium")
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=alone)
        for width, scheme in VIEWS:
            size = {"width": width, "height": given.height or 900}
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(given.page.resolve().as_uri())
            dark = "-dark" if scheme == "dark" else ""
            taken = page.screenshot(full_page=not given.height)
            save(taken, f"{given.name}-{width}{dark}.png")
            if (width, scheme) == VIEWS[1] and page.locator(TOP).count():
                save(top(page, width), f"{given.name}-top.png")
            page.close()
        browser.close()


def top(page: Page, width: int) -> bytes:
    """The page down to the end of the section `TOP`."""
    box = page.locator(TOP).bounding_box()
    assert box is not None  # noqa: S101 - it is shown
    size = {"x": 0, "y": 0, "width": width, "height": box["y"] + box["height"]}
    return page.screenshot(full_page=True, clip=size)


def save(taken: bytes, name: str) -> None:
    """Save a picture in few colors."""
    few = Image.open(io.BytesIO(taken)).convert("RGB").quantize(COLORS)
    few.save(name, optimize=True)


if __name__ == "__main__":
    main()
