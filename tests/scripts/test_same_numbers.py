"""``scripts/numbers/same_numbers.py``: what proves after a refactoring that no number changed."""

import importlib
import json
import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

Compared = Callable[..., int]

SCRIPTS = Path(__file__).parents[2] / "scripts" / "numbers"
MARGIN = 0.1 + 0.2


def _report() -> dict[str, Any]:
    """A report of one recovery, two layers and one attack."""
    recovery = {
        "check": "sipit_recovers",
        "status": "PASS",
        "reasons": [
            {
                "where": "norm",
                "value": 1.0,
                "interval": {"low": 0.8315665, "high": 1.0, "confidence": 0.95},
                "evidence": ["400 of 400 tokens right, 1.0 candidates a token, 0.3 s"],
                "figures": {"eps": 1e-5, "seconds": 0.31},
            }
        ],
        "reproduce": "pytest --injx-model=here",
    }
    tokens = {"right": 3, "of": 9, "low": 0.1, "high": 0.7}
    attacks = [
        {"attacker": one, "teacher_forced": True, "tokens": tokens.copy()}
        for one in ("ball", "lens")
    ]
    return {
        "run": {"n": 20, "versions": {"torch": "2"}, "activations": None},
        "layers": [
            {"layer": one, "margin": MARGIN, "resolution": math.nan} for one in ("norm", "layer01")
        ],
        "releases": [{"release": "identity", "place": "4", "attacks": attacks}],
        "verdicts": [recovery],
    }


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compared:
    """The exit status of comparing two documents, under further rules where they are given."""
    monkeypatch.syspath_prepend(SCRIPTS)
    main = importlib.import_module("same_numbers").main

    def compared(old: Any, new: Any, *rules: dict[str, Any], most: int = 40) -> int:
        paths = [tmp_path / name for name in ("old.json", "new.json", "rules.json")]
        for path, one in zip(paths, (old, new, list(rules)), strict=True):
            path.write_text(json.dumps(one), encoding="utf-8")
        status: int = main([*map(str, paths[:2]), f"--mapping={paths[2]}", f"--most={most}"])
        return status

    return compared


def test_equal_files_pass(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal files differ nowhere, and the numbers compared are counted, each NaN too."""
    assert 0 == compared(_report(), _report())
    assert "18 numbers and 10 texts compared: 0 differences" in capsys.readouterr().out


def test_a_last_bit_is_found(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    """A margin that differs in its last bit is shown by its path, with both numbers."""
    new = _report()
    new["layers"][1]["margin"] = math.nextafter(MARGIN, 1.0)
    assert 1 == compared(_report(), new)
    printed = capsys.readouterr().out
    shown = (
        "/layers/[1 layer01]/margin\n    old: 0.30000000000000004\n    new: 0.3000000000000001\n"
    )
    assert shown in printed
    assert "1 differences" in printed


@pytest.mark.parametrize("empty", [{}, {"run": {"name": "no number"}}, []])
def test_nothing_compared_is_no_success(compared: Compared, empty: Any) -> None:
    """Files without a number are told apart from files whose numbers are equal."""
    assert 2 == compared(empty, empty)


@pytest.mark.parametrize("path", ["verdicts", "layers", "releases"])
def test_a_list_that_lost_its_items_differs(compared: Compared, path: str) -> None:
    """Fewer items are a difference, although all that are left are equal."""
    assert 1 == compared(_report(), _report() | {path: []})


def test_durations_and_command_lines_are_left_out(compared: Compared) -> None:
    """Seconds, also those within a text, and the line that repeats a check may differ."""
    new = _report()
    verdict = new["verdicts"][0] | {"reproduce": "pytest --injx-model=there"}
    verdict["reasons"][0]["figures"]["seconds"] = 7.0
    verdict["reasons"][0]["evidence"] = ["400 of 400 tokens right, 1.0 candidates a token, 12.5 s"]
    assert 0 == compared(_report(), new | {"verdicts": [verdict]})
    verdict["reasons"][0]["evidence"] = ["399 of 400 tokens right, 1.0 candidates a token, 0.3 s"]
    assert 1 == compared(_report(), new | {"verdicts": [verdict]})


@pytest.mark.parametrize(("off", "status"), [(1e-10, 0), (1e-8, 1)])
def test_ends_of_intervals_are_close(compared: Compared, off: float, status: int) -> None:
    """The ends of rates' intervals may differ by 1e-9, and nothing else may."""
    new = _report()
    new["verdicts"][0]["reasons"][0]["interval"]["low"] += off
    new["releases"][0]["attacks"][0]["tokens"]["high"] -= off
    assert status == compared(_report(), new)
    new = _report()
    new["layers"][0]["margin"] += off
    assert 1 == compared(_report(), new)


def test_order_that_does_not_matter(compared: Compared) -> None:
    """Layers and attackers are paired by what names them, and the order of evidence matters."""
    new = _report()
    new["layers"][0]["margin"] = 1.0
    old = deepcopy(new)
    new["layers"].reverse()
    new["releases"][0]["attacks"].reverse()
    assert 0 == compared(old, new)
    assert 1 == compared({"evidence": ["a", "b"], "n": 1}, {"evidence": ["b", "a"], "n": 1})


def test_further_rules(compared: Compared) -> None:
    """Keys, values and words may be renamed, and keys may come, where a mapping file says why."""
    old, new = _report(), _report()
    reason = new["verdicts"][0]["reasons"][0]
    reason |= {"place": reason.pop("where"), "kind": "layer"}
    reason["evidence"] = [f"{reason['evidence'][0].replace('right', 'correct')}"]
    new["verdicts"][0]["status"] = "GREEN"
    rules: list[dict[str, Any]] = [
        {"kind": "renamed", "at": "reasons/*/where", "to": "place", "why": "a test"},
        {"kind": "added", "at": "reasons/*/kind", "why": "a test"},
        {"kind": "value", "at": "status", "was": "PASS", "to": "GREEN", "why": "a test"},
    ]
    words = {"kind": "phrase", "was": "tokens right", "to": "tokens correct", "why": "a test"}
    numbers = {"kind": "numbers only", "at": "evidence/*", "why": "a test"}
    assert 1 == compared(old, new)
    assert 1 == compared(old, new, *rules)
    assert 0 == compared(old, new, *rules, words)
    assert 0 == compared(old, new, *rules, numbers)


@pytest.mark.parametrize(("old", "new", "status"), [({}, {"more": 1}, 0), ({"more": 1}, {}, 1)])
def test_what_is_added_does_not_go(
    compared: Compared, old: dict[str, int], new: dict[str, int], status: int
) -> None:
    """A key that may come may not go."""
    rule = {"kind": "added", "at": "more", "why": "a test"}
    assert status == compared({"n": 1, **old}, {"n": 1, **new}, rule)


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ({"error": "IndexError: 3"}, {"value": 0.5}, 0),
        ({"error": "IndexError: 3"}, {"error": "KeyError: 3"}, 1),
        ({"value": 0.5}, {"error": "IndexError: 3"}, 1),
    ],
)
def test_a_crash_may_be_mended(
    compared: Compared, old: dict[str, Any], new: dict[str, Any], status: int
) -> None:
    """Where a rule says so an error may become a number, and neither another error nor the reverse."""
    rule = {"kind": "mended", "at": "crashed", "why": "a test"}
    assert 1 == compared({"n": 1, "crashed": old}, {"n": 1, "crashed": new})
    assert status == compared({"n": 1, "crashed": old}, {"n": 1, "crashed": new}, rule)


def test_few_differences_are_shown(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    """However many there are, a bounded number is printed, and how many are left."""
    old = {str(at): at for at in range(100)}
    assert 1 == compared(old, {key: -value for key, value in old.items()}, most=3)
    printed = capsys.readouterr().out
    assert 3 == printed.count("old:")
    assert "… and 96 more differences" in printed


def test_a_rule_without_a_reason_is_refused(compared: Compared) -> None:
    """Nobody leaves something out without saying why."""
    with pytest.raises(SystemExit, match="2"):
        compared({"n": 1}, {"n": 1}, {"kind": "left out", "at": "n", "why": ""})
