import json

import pytest

from tests.integration.conftest import Run
from tests.integration.support import said


def test_duplicates_are_dropped_and_counted_never_collisions(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """Prompts with equal token ids are one prompt; the report says how many were dropped."""
    result = audited(
        """
        def test_gate(injx):
            injx.assert_no_collisions("all")
            assert len(injx.prompts) == 3
        """,
        "--injx-report=json:report.json",
        prompts=["one", "two", "one", "three", "two", "one"],
    )
    result.assert_outcomes(passed=1)
    assert "3 of " in said(result)
    assert "dropped: 3 duplicates" in said(result)
    report = json.loads((pytester.path / "report.json").read_text())
    assert 3 == report["run"]["n"]
    dropped = {"duplicates": 3, "indistinguishable": 0, "overlong": 0, "empty": 0}
    assert dropped == report["run"]["dropped"]
    assert [0, 0, 0] == [layer["collisions"] for layer in report["layers"]]


def test_texts_that_a_tokenizer_makes_equal_are_named(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """A tokenizer that drops characters makes one prompt of two texts: counted, a pair named."""
    result = audited(
        """
        def test_gate(injx):
            injx.assert_no_collisions("all")
        """,
        "--injx-report=json:report.json",
        model="lossy",
        prompts=["naïve", "nave", "other", "öther", "this"],
    )
    result.assert_outcomes(passed=1)
    assert "dropped: 1 indistinguishable" in said(result)
    assert "1 text has the token ids of another text" in said(result)
    assert "jsonl, line 1 and line 2" in said(result)
    run = json.loads((pytester.path / "report.json").read_text())["run"]
    assert (1, 2) == (run["dropped"]["indistinguishable"], run["not_restored"])
    assert any(
        "come back from this tokenizer as another text" in one for one in run["prompt_notes"]
    )


def test_overlong_prompts_are_counted(audited: Run) -> None:
    """With --injx-overlong=drop the header says how many prompts the context does not hold."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n",
        "--injx-overlong=drop",
        prompts=["one", "two", "x" * 65, "y" * 200, "z" * 64, " "],
    )
    result.assert_outcomes(passed=1)
    assert "dropped: 2 overlong" in said(result)
    assert "1 to 64 tokens" in said(result)
