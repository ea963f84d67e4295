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
    assert {"duplicates": 3, "overlong": 0, "empty": 0} == report["run"]["dropped"]
    assert [0, 0, 0] == [layer["collisions"] for layer in report["layers"]]


def test_texts_that_a_tokenizer_makes_equal_are_duplicates(audited: Run) -> None:
    """A tokenizer that drops characters makes duplicates, not collisions."""
    result = audited(
        """
        def test_gate(injx):
            injx.assert_no_collisions("all")
        """,
        model="lossy",
        prompts=["naïve", "nave", "other", "öther", "this"],
    )
    result.assert_outcomes(passed=1)
    assert "dropped: 1 duplicates" in said(result)


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
