"""The HTML report: one page a run, without script and without anything that is fetched.

The page is read offline, on a phone, in the dark and on paper. Its figures are SVG inside the page,
drawn here and not by matplotlib, which would bring numpy into a room without it, take half a second to
start and know nothing of dark pages; so the extra ``html`` needs jinja2 alone. All texts may come from
anybody: jinja2 escapes each, control characters are shown as escapes, and a Content-Security-Policy
forbids everything but the page's own styles.
"""

from dataclasses import replace
from pathlib import Path

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.reports.page.environment import check_jinja, environment
from pytest_injectivity.results.run_results import RunResults

LIMIT = 1_000_000
"""Bytes that a page has at most, as long as leaving out evidence is enough."""

_FEW = 5  # layers of a verdict, where there is no room for all


def check_installed() -> None:
    """Refuse to begin a run whose page could not be written at its end.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    check_jinja("--injx-report=html:PATH")


def write_report(path: Path, results: RunResults) -> None:
    """Write the page; the folder is made, the file replaced only when all is written.

    Args:
        path: of the file.
        results: what the tests found.

    Raises:
        MissingExtra: jinja2 is not installed.
        OSError: the file cannot be written.
    """
    write_whole(path, html(results))


def html(results: RunResults, *, limit: int = LIMIT) -> str:
    """The page as text; evidence of verdicts is left out where it would be too long.

    Args:
        results: what the tests found.
        limit: bytes of UTF-8 from which parts of verdicts are left out, as `EVIDENCE` has them.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    check_installed()
    from pytest_injectivity.reports.page.contents import EVIDENCE, contents

    made = environment()
    made.globals["most"] = _FEW
    made.filters["without_status"] = lambda line: line.partition(" ")[2]
    template = made.get_template("page.html.jinja")
    page = contents(results)
    text = ""
    for evidence in EVIDENCE:
        text = template.render(page=replace(page, evidence=evidence))
        if len(text.encode()) <= limit:
            break
    return text
