"""A report to write, as ``--injx-report`` names it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportTarget:
    """A report to write: ``KIND:PATH``, of one of `REPORT_KINDS`."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}"
