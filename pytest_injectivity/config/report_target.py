"""A report to write, as ``--injx-report`` names it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportTarget:
    """A report to write: ``KIND:PATH``, of one of `REPORT_KINDS`."""

    kind: str
    path: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are written: of a decision the JSON file and the page beside it.

        >>> [str(file) for file in ReportTarget("decision", "ship.md").files]
        ['ship.json', 'ship.md']
        """
        path = Path(self.path)
        if self.kind != "decision":
            return (path,)
        data = path.with_suffix(".json") if path.suffix == ".md" else path
        return data, path.with_suffix(".md")

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}"
