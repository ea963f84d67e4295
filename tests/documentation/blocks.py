"""The fenced blocks of the pages that people read.

A block of `bash` or `python` runs as a test. Where it cannot, the line before it says why:
``<!-- not run: it trains for half an hour -->``. ``<!-- run with: FLAGS -->`` gives flags to pytest.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("example_suites/*/README.md")),
]
_FENCE = re.compile(r"( *)```(\w*)(?: title=\"([^\"]+)\")?")
_SAID = re.compile(r" *<!-- (not run|run with): (.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: the page's path in the repository.
        line: where it begins.
        language: as the fence says; empty where it does not.
        title: the file that it is, or what is said above it.
        text: its lines, without the indent of the fence.
        not_run: why no test runs it; empty where one does.
        run_with: flags that pytest is given with it.
    """

    page: str
    line: int
    language: str
    title: str
    text: str
    not_run: str
    run_with: str

    @property
    def place(self) -> str:
        """Where it is, as an editor takes it."""
        return f"{self.page}:{self.line}"


def blocks(page: Path, root: Path = ROOT) -> list[Block]:
    """The blocks of a page, in order."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    start, name = 0, page.relative_to(root).as_posix()
    while start < len(lines):
        fence = _FENCE.fullmatch(lines[start])
        if fence is None:
            start += 1
            continue
        indent, language, title = fence[1], fence[2], fence[3] or ""
        end = lines.index(f"{indent}```", start + 1)
        text = "".join(f"{line.removeprefix(indent)}\n" for line in lines[start + 1 : end])
        said = _SAID.fullmatch(lines[start - 1]) if start else None
        words = {said[1]: said[2]} if said else {}
        found.append(
            Block(
                name,
                start + 1,
                language,
                title,
                text,
                words.get("not run", ""),
                words.get("run with", ""),
            )
        )
        start = end + 1
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
"""Of all pages."""
