"""A hook of mkdocs: files of the repository that are pages of the site, and links to them.

On GitHub a page links to ``../CONTRIBUTING.md``; on the site that file is the page ``contributing.md``.
A link to a file that is neither in ``docs`` nor in `PAGES` stays, and the strict build refuses it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
SUITES = sorted(one.parent.name for one in ROOT.glob("example_suites/*/README.md"))
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE",
    "action.yml": "action.yml",
    "pytest_injectivity/models/shipped/README.md": "shipped-card.md",
} | {f"example_suites/{suite}/README.md": f"suites/{suite}.md" for suite in SUITES}
"""By their place in the repository, where files outside of ``docs`` are on the site."""

_SOURCES = {page: source for source, page in PAGES.items()}
_CODE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files to those of ``docs``."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turns links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    markdown = markdown.replace("<!-- checks -->", _checks())
    parts = enumerate(_CODE.split(markdown))
    return "".join(
        part if at % 2 else _LINK.sub(lambda link: _turned(link, here), part) for at, part in parts
    )


def _checks() -> str:
    """A section of the API for each check, which is a file of its name."""
    room = "pytest_injectivity.audit.checks"
    files = sorted((ROOT / room.replace(".", "/")).glob("[!_]*.py"))
    options = "    options: { heading_level: 3 }"
    return "\n\n".join(f"::: {room}.{one.stem}.check_{one.stem}\n{options}" for one in files)


def _turned(link: re.Match[str], here: str) -> str:
    text, target, anchor = link[1], link[2], link[3] or ""
    if "://" in target or target.startswith("mailto:"):
        return link[0]
    source = _SOURCES.get(here, f"docs/{here}")
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = PAGES.get(meant, meant.removeprefix("docs/") if meant.startswith("docs/") else None)
    if page is None:
        return link[0]
    return f"{text}({posixpath.relpath(page, posixpath.dirname(here) or '.')}{anchor})"
