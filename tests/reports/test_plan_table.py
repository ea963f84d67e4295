from pytest_injectivity.reports.plan_table import plan_lines
from pytest_injectivity.results.plan import Phase, Plan

PHASES = (
    Phase("loading the model", "a/model", 1.0, bytes=4_000_000),
    Phase("hidden states", "10 prompts", 95.0, token_forwards=12_345, shorter_by="--injx-length"),
)


def _text(plan: Plan) -> str:
    return "\n".join(plan_lines(plan))


def test_each_phase_has_a_row() -> None:
    """Its name, time, token-forwards and bytes; a dash where it has none."""
    rows = _text(Plan(PHASES, "a/model", "10 of a.txt", "weights 4 MB", "calibration")).splitlines()
    assert ["loading", "the", "model", "1", "s", "–", "4", "MB", "a/model"] in [
        row.split() for row in rows
    ]
    assert ["hidden", "states", "1", "min", "35", "s", "12,345", "–", "10", "prompts"] in [
        row.split() for row in rows
    ]


def test_the_last_row_is_the_sum() -> None:
    """Of the times and of the token-forwards."""
    assert "together" in _text(Plan(PHASES, "m", "p", "w", "r"))
    (row,) = [
        one.split()
        for one in plan_lines(Plan(PHASES, "m", "p", "w", "r"))
        if one.startswith("together")
    ]
    assert ["together", "1", "min", "36", "s", "12,345"] == row


def test_long_phases_say_what_makes_them_shorter() -> None:
    """Short ones do not."""
    text = _text(Plan(PHASES, "m", "p", "w", "r"))
    assert "hidden states: shorter by --injx-length" in text
    assert "loading the model: shorter" not in text


def test_what_is_not_foreseen_is_said() -> None:
    """One line each, which no name breaks."""
    text = _text(Plan((), "m", "p", "w", "r", unforeseen=("attacks on a\nrelease",)))
    assert "not foreseen: attacks on a" in text
    assert "\nrelease" not in text


def test_work_that_only_a_run_finds_has_a_range() -> None:
    """The sum too."""
    searched = Phase("colliding changes", "1 pair", 20.0, between=(1.0, 95.0))
    rows = [one.split("  ") for one in plan_lines(Plan((*PHASES, searched), "m", "p", "w", "r"))]
    times = {row[0]: [cell.strip() for cell in row[1:] if cell] for row in rows}
    assert "20 s (1 s to 1 min 35 s)" == times["colliding changes"][0]
    assert "1 min 56 s (1 min 37 s to 3 min 11 s)" == times["together"][0]


def test_who_shares_the_work_stands_above_the_times() -> None:
    """Where somebody does."""
    alone, shared = (
        _text(Plan(PHASES, "m", "p", "w", "r", sharing=words)) for words in ("", "by 2 workers")
    )
    assert "\nsharing  by 2 workers\n" in shared.partition("together")[0]
    assert "sharing" not in alone
