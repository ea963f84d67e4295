"""Values in the text of an ini file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iniconfig import IniConfig

from pytest_injectivity.core.ini_text import IniValue, with_values
from pytest_injectivity.errors import OptionError

GATE = """\
# Whose file this is.
[pytest]
# The prompts.
injx_prompts = builtin:stdlib
gate_drift =
    8 0.05
    # between

    4 0.35
# The last one.
addopts = -q

[other]
gate_drift = mine
"""


def read(text: str) -> dict[str, dict[str, str]]:
    """The values of each section, as pytest reads them."""
    found = IniConfig("pytest.ini", data=text).sections
    return {section: dict(values) for section, values in found.items()}


def test_a_value_of_several_lines_is_replaced_where_it_stands() -> None:
    """With the lines that go on with it; what is above, below and in other sections stays."""
    value = IniValue(name="gate_drift", lines=("16 0.1", "4 0.4"))
    assert with_values(GATE, [value]) == GATE.replace(
        "    8 0.05\n    # between\n\n    4 0.35\n", "    16 0.1\n    4 0.4\n"
    )


def test_a_new_comment_replaces_the_old_one() -> None:
    """Only the one directly above the value; without a new one it stays."""
    plain = IniValue(name="injx_prompts", lines=("mine.txt",))
    assert "# The prompts.\ninjx_prompts = mine.txt\n" in with_values(GATE, [plain])
    said = IniValue(name="injx_prompts", lines=("mine.txt",), comment=("Mine.", "", "All."))
    assert "[pytest]\n# Mine.\n#\n# All.\ninjx_prompts = mine.txt\n" in with_values(GATE, [said])


def test_a_new_value_is_added_at_the_end_of_its_section() -> None:
    """After the last line that is not empty."""
    added = with_values(GATE, [IniValue(name="new", lines=("1",))])
    assert added == GATE.replace("addopts = -q\n", "addopts = -q\nnew = 1\n")
    added = with_values(GATE, [IniValue(name="new", lines=("1",), comment=("Why.",))])
    assert added == GATE.replace("addopts = -q\n", "addopts = -q\n\n# Why.\nnew = 1\n")


def test_a_section_that_is_missing_is_added() -> None:
    """Also to an empty file, and to one without a last line's end."""
    value = IniValue(name="a", lines=("1",))
    assert "[pytest]\na = 1\n" == with_values("", [value])
    assert "[tox]\nb = 2\n\n[pytest]\na = 1\n" == with_values("[tox]\nb = 2", [value])


def test_line_ends_of_windows_stay() -> None:
    """The lines that are written have them as well."""
    written = with_values(GATE.replace("\n", "\r\n"), [IniValue(name="new", lines=("1", "2"))])
    assert written == GATE.replace("-q\n", "-q\nnew =\n    1\n    2\n").replace("\n", "\r\n")


def test_a_name_that_begins_alike_is_another_value() -> None:
    """So is one that holds what a pattern would match."""
    text = "[pytest]\ngate_drifts = 1\ngateXdrift = 2\n"
    written = with_values(text, [IniValue(name="gate.drift", lines=("3",))])
    assert written == text + "gate.drift = 3\n"


@pytest.mark.parametrize("line", ["", " a", "a ", "a\nb", "a\rb", "a\x85b", "a\0b"])
def test_what_an_ini_cannot_hold_is_refused(line: str) -> None:
    """The value would be read back as another one, or would add values of its own."""
    with pytest.raises(OptionError, match=r"injx_model: .* cannot be written into an ini"):
        IniValue(name="injx_model", lines=(line,))


def test_a_line_that_would_be_a_comment_is_refused() -> None:
    """Below a name; beside it, it is a value."""
    with pytest.raises(OptionError, match="would be a comment"):
        IniValue(name="a", lines=("1", "# 2"))
    text = with_values("", [IniValue(name="a", lines=("# 2",))])
    assert "# 2" == read(text)["pytest"]["a"]


LINES = st.text(st.characters(codec="utf-8", exclude_characters="#;"), min_size=1).filter(
    lambda line: line == line.strip() and len(line.splitlines()) == 1 and "\0" not in line
)


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(LINES, min_size=1, max_size=3)))
def test_what_is_written_is_what_pytest_reads(wanted: dict[str, list[str]]) -> None:
    """Whatever the values are, written twice over; the others stay."""
    values = [
        IniValue(name=name, lines=tuple(lines), comment=("Why.",)) for name, lines in wanted.items()
    ]
    once = with_values(GATE, values)
    found, before = read(once), read(GATE)
    assert found["other"] == before["other"]
    assert found["pytest"] == before["pytest"] | {
        name: "\n".join(lines) for name, lines in wanted.items()
    }
    assert once == with_values(once, values)
