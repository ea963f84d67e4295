"""When a run was made, and at which commit of the project that it ran in."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pytest_injectivity.core.commits import is_commit
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError

_SHORT = 8


@dataclass(frozen=True)
class RunOrigin:
    """Where the numbers of a run stand in a project's history.

    Attributes:
        date: when the run ended, with its offset from UTC, such as ``2026-11-30T08:15:00+00:00``.
        commit: of the project that the run ran in; None where there is none. What was changed since
            the commit is not known.

    Raises:
        OptionError: the date or the commit is none.

    Example:
        >>> RunOrigin("2026-11-30T08:15:00+00:00", "0123456789" * 4).short
        '2026-11-30 01234567'
    """

    date: str
    commit: str | None = None

    def __post_init__(self) -> None:
        try:
            aware = datetime.fromisoformat(self.date).tzinfo is not None and bool(self.at)
        except (ValueError, OverflowError):  # the latter at either end of all years
            aware = False
        if not aware:
            raise OptionError(
                f"date is {one_line(repr(self.date))}, which is no time with its offset from UTC, such"
                " as 2026-11-30T08:15:00+00:00"
            )
        if self.commit is not None and not is_commit(self.commit):
            raise OptionError(f"commit is {one_line(repr(self.commit))}, which is no commit's name")

    @classmethod
    def now(cls, commit: str | None) -> "RunOrigin":
        """The origin of a run that ends now."""
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), commit)

    @property
    def at(self) -> datetime:
        """The date as a time, in UTC."""
        return datetime.fromisoformat(self.date).astimezone(UTC)

    @property
    def short(self) -> str:
        """The day, and the commit's first digits."""
        day = self.at.date().isoformat()
        return day if self.commit is None else f"{day} {self.commit[:_SHORT]}"
