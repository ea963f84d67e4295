"""The grammar of the rules by which a model ships."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity import OptionError
from pytest_injectivity.config.decision_rules import DecisionRule, parse_rules
from pytest_injectivity.config.parsers import decision


@pytest.mark.parametrize(
    ("text", "subject", "bound", "task", "confidence"),
    [
        ("verdicts pass", "verdicts", None, "", None),
        ("recovery >= 0.99", "recovery", 0.99, "", None),
        ("recovery of mmlu>=0.97 at 95%", "recovery", 0.97, "mmlu", 0.95),
        ("recovery of arc_easy/acc_norm >= 1e-1", "recovery", 0.1, "arc_easy/acc_norm", None),
        ("  size   <=  0.4 ", "size", 0.4, "", None),
        ("bits <= 4.5", "bits", 4.5, "", None),
        ("share >= 0.9", "share", 0.9, "", None),
    ],
)
def test_a_rule_says_what_is_judged_and_by_what(
    text: str, subject: str, bound: float | None, task: str, confidence: float | None
) -> None:
    """Spaces do not matter; the text is kept on one line."""
    rule = DecisionRule.parse(text)
    assert (subject, bound, task, confidence) == (
        rule.subject,
        rule.bound,
        rule.task,
        rule.confidence,
    )
    assert " ".join(text.split()) == rule.text


def test_rules_are_separated_by_semicolons_or_lines() -> None:
    """As in an ini; parsed rules are read as they are."""
    rules = parse_rules("verdicts pass;\n size <= 0.4\n\nrecovery >= 0.99; recovery of b >= 0.9;")
    assert ["verdicts", "size", "recovery", "recovery"] == [rule.subject for rule in rules]
    assert rules == decision(rules)
    assert rules == decision("; ".join(rule.text for rule in rules))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rule of a decision"),
        (";", "has no rule of a decision"),
        ("recovery > 0.99", "is no rule of a decision: give"),
        ("recovery <= 0.99", "is no rule of a decision"),
        ("size >= 0.4", "is no rule"),
        ("verdicts fail", "is no rule"),
        ("size <= 0", "0 is no bound: give a finite number above 0"),
        ("size <= -1", "-1 is no bound"),
        ("size <= 1e999", "1e999 is no bound"),
        ("size <= 1.2.3", "1.2.3 is no bound"),
        ("size <= nan", "is no rule"),
        ("share >= 1.5", "no share is above 1"),
        ("recovery >= 0.9 at 100 %", "100 % is no level"),
        ("recovery >= 0.9 at 10 %", "10 % is no level"),
        ("size <= 1; size <= 2", "there is another rule on the same"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, message: str) -> None:
    """With the text and what is accepted."""
    with pytest.raises(OptionError, match=message):
        parse_rules(text)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    """Whoever writes an ini gets rules or an error of ours."""
    with suppress(OptionError):
        assert parse_rules(text)
