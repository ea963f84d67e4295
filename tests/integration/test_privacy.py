import re
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output

WORDS = ("heliotrope", "quagmire", "zanzibar")
PROMPTS = ["heliotrope box", "heliotrope boy", "a quagmire", "zanzibar, then", "what else"]
# Every check fails on the two first prompts, which the model cannot tell apart.
SUITE = """
import pytest

def test_collisions(injx):
    injx.assert_no_collisions("0,all", eps=1e9)

def test_margin(injx):
    injx.assert_margin_above("all", 1e9, confidence=0.95)

def test_colipschitz(injx):
    injx.assert_colipschitz_above("all", 1e9)

def test_distortion(injx):
    injx.assert_bilipschitz_within("all", 0.0)

def test_sipit(injx):
    injx.assert_sipit_recovers("all", prompts=3, tokens=14)

def test_bits(injx):
    injx.assert_no_collisions("all", bits=2)

def test_wrong_use(injx):
    injx.assert_sipit_recovers("all", prompts=500)
"""


def _encoded(text: str) -> str:
    """The ids as Python and JSON write them: one a byte."""
    return ", ".join(str(byte) for byte in text.encode())


def _written(result: pytest.RunResult, folder: Path) -> str:
    """Everything a run left: its output and every file but the suite and its compiled form."""
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    return output(result) + "".join(path.read_text(errors="replace") for path in files)


def test_no_prompt_leaves_the_process_unasked(audited: Run, pytester: pytest.Pytester) -> None:
    """Neither a word nor its token ids: not in the output, not in JUnit, JSON, cache or logs."""
    result = audited(
        SUITE,
        *("--junitxml=junit.xml", "--injx-report=json:r.json", "-rA", "-vv", "--showlocals"),
        *("--log-file=log.txt", "--log-file-level=DEBUG", "-o", "junit_logging=all"),
        model="planted",
        prompts=PROMPTS,
    )
    result.assert_outcomes(failed=7)
    written = _written(result, pytester.path)
    assert "prompt 0 (" in written
    for word in WORDS:
        assert word not in written
        assert _encoded(word[:4]) not in written


def test_a_failing_test_of_ones_own_shows_no_prompt(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """Pytest prints arguments and locals of a failing test: the fixtures keep prompts to themselves."""
    result = audited(
        """
        def test_own(injx, injx_prompts, injx_model, injx_geometry, injx_layer):
            geometry, prompts = injx_geometry(injx_layer), injx.prompts
            assert not prompts, injx_prompts
        """,
        *("--showlocals", "-vv", "--junitxml=junit.xml"),
        prompts=PROMPTS,
    )
    result.assert_outcomes(failed=3)
    written = _written(result, pytester.path)
    for word in WORDS:
        assert word not in written
        assert _encoded(word[:4]) not in written


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", '{"text": "zanzibar one"}\n{"text": "zanzibar two"\n'),
        ("p.jsonl", '{"text": "zanzibar one"}\n{"text": ["zanzibar"]}\n'),
        ("p.jsonl", '{"text": "zanzibar one"}\n{"text": "zanzibar one"}\n'),
        ("p.jsonl", '{"text": "zanzibar one"}\n{"text": "' + 9 * "zanzibar " + '"}\n'),
        ("p.json", '{"text": "zanzibar one"}'),
        ("p.csv", "text\nzanzibar one\nzanzibar,two\n"),
        ("p.txt", "zanzibar one\n"),
    ],
)
def test_errors_about_prompts_do_not_quote_them(
    audited: Run, pytester: pytest.Pytester, name: str, content: str
) -> None:
    """They name the file and the line."""
    (pytester.path / name).write_text(content)
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n",
        *(f"--injx-prompts={name}", "-vv", "--showlocals"),
    )
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert name in output(result)
    assert "zanzibar" not in output(result)


def test_prompts_are_shown_when_asked_for(audited: Run, pytester: pytest.Pytester) -> None:
    """--injx-show-prompts puts the text beside its name, in the failure, JUnit and JSON."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('norm')\n",
        *("--injx-show-prompts", "--junitxml=junit.xml", "--injx-report=json:r.json"),
        model="planted",
        prompts=PROMPTS,
    )
    pair = (
        r"prompt 0 \(\w+, 14 tokens\) heliotrope box and prompt 1 \(\w+, 14 tokens\) heliotrope boy"
    )
    assert re.search(pair, output(result))
    assert re.search(pair, (pytester.path / "junit.xml").read_text())
    assert re.search(pair, (pytester.path / "r.json").read_text())
    assert "zanzibar" not in output(result)


def test_control_sequences_are_stripped_from_shown_prompts(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """A prompt cannot recolour, overwrite, reorder or break the lines of a report."""
    evil = "\x1b[31mred\x07 \x9b2J \u202egnirts \u2028 line\r\nnext\t\x00 "
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('norm')\n",
        *("--injx-show-prompts", "--junitxml=junit.xml", "--injx-report=json:r.json"),
        model="planted",
        prompts=[f"{evil}x", f"{evil}y", "else"],
    )
    result.assert_outcomes(failed=1)
    written = _written(result, pytester.path)
    assert "\\x1b[31mred" in written
    for character in "\x1b\x07\x9b\u202e\u2028\r\x00":
        assert character not in written
    (line,) = [line for line in result.outlines if "collision, distance" in line]
    assert "next" in line


def test_long_prompts_are_cut_when_shown(audited: Run) -> None:
    """A line of evidence stays a line."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('norm')\n",
        "--injx-show-prompts",
        model="roomy",
        prompts=["a" * 500 + "x", "a" * 500 + "y", "else"],
    )
    (line,) = [line for line in result.outlines if "collision, distance" in line]
    assert 2 * 160 == line.count("a" * 160) * 160
    assert len(line) < 500


def test_ids_are_shown_where_there_is_no_text(audited: Run, pytester: pytest.Pytester) -> None:
    """Prompts given as token ids are shown as such, and only when asked for."""
    (pytester.path / "p.jsonl").write_text('{"ids": [7, 120]}\n{"ids": [7, 121]}\n{"ids": [9]}\n')
    for flags, shown in (((), False), (("--injx-show-prompts",), True)):
        result = audited(
            "def test_gate(injx):\n    injx.assert_no_collisions('norm')\n",
            *("--injx-prompts=p.jsonl", *flags),
            model="planted",
        )
        assert shown == ("[7, 120] and" in output(result))


@pytest.mark.parametrize("name", ["evil\x1b[31m.jsonl", "two\nlines.jsonl", "\u202egnirts.jsonl"])
def test_names_of_files_cannot_steer_the_terminal(
    audited: Run, pytester: pytest.Pytester, name: str
) -> None:
    """A missing file's name, and a prompt set's, are printed with control characters escaped."""
    gate = "def test_gate(injx):\n    injx.assert_no_collisions('all')\n"
    missing = audited(gate, f"--injx-prompts={name}", "--no-header")
    assert pytest.ExitCode.USAGE_ERROR == missing.ret
    (pytester.path / name).write_text('{"text": "a"}\n{"text": "b"}\n')
    found = audited(gate, f"--injx-prompts={name}", "--no-header")
    found.assert_outcomes(passed=1)
    for result in (missing, found):
        assert "\x1b" not in output(result)
        assert "\u202e" not in output(result)
