import json
from dataclasses import replace
from pathlib import Path

from pytest_injectivity.results.attack_metrics import TextMatch
from pytest_injectivity.results.releases import (
    AttackSummary,
    CurvePoint,
    PrivacyCurve,
    RankSummary,
    Rate,
    ReleaseSummary,
    write_curves,
)

RANKS = RankSummary(
    first={"10": Rate(600, 1000, 0.55, 0.65), "100": Rate(900, 1000, 0.85, 0.95)},
    guesses=12.5,
    median=7.0,
    at_least=False,
    bits=2.5,
    bits_low=2.0,
    bits_high=3.0,
    entropy=7.0,
)
ATTACK = AttackSummary(
    attacker="argmin",
    source="a paper",
    teacher_forced=True,
    prompts=50,
    tokens=Rate(300, 1000, 0.25, 0.35),
    whole=Rate(0, 50, 0.0, 0.07),
    by_position={"0": Rate(25, 50, 0.35, 0.65), "1": Rate(5, 50, 0.03, 0.22)},
    by_kind={"word": Rate(200, 600, 0.3, 0.37), "number": Rate(100, 400, 0.2, 0.3)},
    by_span={"number": (3, 9)},
    verified=0.1,
    texts=TextMatch(0.42, 0.2),
    ranks=RANKS,
)
SUMMARY = ReleaseSummary(
    release="round(bits=4)",
    place="4",
    prompts=50,
    tokens=20,
    confidence=0.95,
    typical=0.5,
    noise=0.0,
    attacks=(ATTACK,),
    agreement=Rate(900, 1000, 0.85, 0.95),
    divergence=0.02,
    guessed=Rate(200, 950, 0.18, 0.24),
    perplexity_ratio=1.5,
)


def point(strength: str, *, hidden: bool = True, useful: bool | None = True) -> CurvePoint:
    """A point of a curve."""
    return CurvePoint(strength, replace(SUMMARY, release=f"round(bits={strength})"), hidden, useful)


def curve(*points: CurvePoint, release: str = "round(bits=?)@4") -> PrivacyCurve:
    """A curve of these points."""
    return PrivacyCurve(release, "a model, 50 prompts", 0.4, 0.9, 0.95, points)


def test_the_strongest_read_most() -> None:
    """By what it read; of two that read as much, the one that may have read more."""
    weaker = replace(ATTACK, attacker="ball", tokens=Rate(10, 1000, 0.0, 0.9))
    even = replace(ATTACK, attacker="prior", tokens=Rate(300, 1000, 0.25, 0.36))
    assert "prior" == replace(SUMMARY, attacks=(weaker, ATTACK, even)).strongest.attacker


def test_a_rate_shows_its_count_and_interval() -> None:
    """In percent."""
    assert "300 of 1000, 30 % [25, 35]" == str(ATTACK.tokens)
    assert "[0.25, 0.35] at 95%" == str(ATTACK.tokens.interval(0.95))


def test_attackers_are_named_with_how_they_were_run() -> None:
    """Teacher-forced is called so."""
    assert "argmin, teacher-forced" == ATTACK.name
    assert "argmin, free-running" == replace(ATTACK, teacher_forced=False).name


def test_both_hold_where_each_does() -> None:
    """A release without a measured use has none."""
    found = curve(
        point("2", useful=False), point("3"), point("4", hidden=False), point("5", useful=None)
    )
    assert ("3",) == found.both
    assert found.line.startswith("round(bits=?)@4: 3 have both, at most 40 % of tokens read")


def test_a_curve_says_that_nothing_has_both() -> None:
    """Often the truth."""
    line = curve(point("2", useful=False)).line
    assert "no strength of 1 has both, at most 40 % of tokens read by these attackers" in line


def test_curves_are_written_as_json(tmp_path: Path) -> None:
    """With what was found beside the points."""
    write_curves(tmp_path / "new" / "curves.json", [curve(point("3"))])
    (found,) = json.loads((tmp_path / "new" / "curves.json").read_text())["curves"]
    assert ["3"] == found["both"]
    assert 300 == found["points"][0]["release"]["attacks"][0]["tokens"]["right"]
