"""The checks of what is shared, driven through pytest; and the suite that a team copies."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output, said

_SUITE = Path(__file__).parents[2] / "example_suites" / "privacy_audit"
WORDS = ("heliotrope", "quagmire", "zanzibar")
PROMPTS = [
    "heliotrope box",
    "heliotrope boy",
    "a quagmire 42 at",
    "zanzibar, then Ada",
    "what else is",
]
# What learns from practice is run where all of it has its default: test_last.
FEW = "prompts=2, tokens=3, free_running=1, practice=0"
GATES = f"""
import pytest

def test_hidden(injx):
    injx.assert_not_recoverable(["identity@1", "round(bits=3)@norm", "permute@2"], 0.01, {FEW})

def test_cache(injx):
    injx.assert_not_recoverable("identity@1 kv", 0.01, {FEW})

def test_last(injx):
    injx.assert_not_recoverable("identity@2 last", 0.01, prompts=2, free_running=0)

def test_use(injx):
    injx.assert_utility_kept("gaussian(sigma=9 rel)@1", 1.0, {FEW})

def test_sweep(injx):
    found = injx.sweep("gaussian(sigma=? rel)@1", [1, 9], max_token_rate=0.1, min_agreement=0.9, {FEW})
    assert found.both, found.line

def test_wrong_use(injx):
    injx.assert_not_recoverable("identity@1", 0.1, prompts=500)
"""


def _encoded(text: str) -> str:
    """The ids as Python and JSON write them: one a byte."""
    return ", ".join(str(byte) for byte in text.encode())


def _left(result: pytest.RunResult, *folders: Path) -> str:
    """Everything a run left: its output and every file but the suite and its compiled form."""
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "prompts.jsonl"
    ]
    return output(result) + "".join(path.read_text(errors="replace") for path in files)


def test_no_prompt_leaves_the_process_unasked(audited: Run, pytester: pytest.Pytester) -> None:
    """No word, no token id, no span: not in the output, JUnit, JSON, the store or logs."""
    result = audited(
        GATES,
        *("--junitxml=junit.xml", "--injx-report=json:r.json", "--injx-report=markdown:r.md"),
        *("-rA", "-vv", "--showlocals", "--injx-cache-dir=store"),
        *("--log-file=log.txt", "--log-file-level=DEBUG", "-o", "junit_logging=all"),
        prompts=PROMPTS,
    )
    result.assert_outcomes(failed=6)
    written = _left(result, pytester.path)
    assert (pytester.path / "store").is_dir()
    assert "not_recoverable" in written
    for word in WORDS:
        assert word not in written
        assert _encoded(word[:4]) not in written


def test_the_table_and_the_json_have_every_release(audited: Run, pytester: pytest.Pytester) -> None:
    """By release and place: attackers with rates and intervals, positions, kinds, utility."""
    result = audited(
        GATES.replace("prompts=2, free_running=0", FEW),
        *("--injx-report=json:r.json", "-k", "hidden or cache or last"),
        prompts=PROMPTS,
    )
    assert "teacher-forced" in said(result)
    assert 'Little read is "not broken by these attackers"' in said(result)
    found = json.loads((pytester.path / "r.json").read_text())["releases"]
    by_name = {f"{one['release']}@{one['place']}": one for one in found}
    assert {"identity@1", "identity@1 kv", "identity@2 last", "permute@2"} <= by_name.keys()
    (argmin,) = [
        one
        for one in by_name["identity@1"]["attacks"]
        if one["attacker"] == "argmin" and one["teacher_forced"]
    ]
    assert 6 == argmin["tokens"]["right"] == argmin["tokens"]["of"]
    assert 2 == argmin["whole"]["right"]
    assert {"0", "1", "2"} == argmin["by_position"].keys()
    assert argmin["by_kind"]
    assert (
        1.0
        == by_name["identity@1"]["agreement"]["right"] / by_name["identity@1"]["agreement"]["of"]
    )


def test_a_flag_names_what_is_shared(audited: Run) -> None:
    """One test id a release, in the order given; the command that repeats it names them all."""
    result = audited(
        f"""
        def test_gate(assert_not_recoverable, assert_utility_kept, injx_release):
            assert_utility_kept(injx_release, 1.0, {FEW})
            assert_not_recoverable(injx_release, 0.01, {FEW})
        """,
        *("--injx-release=identity@1", "--injx-release=rotate(2)@2", "-v"),
        prompts=PROMPTS,
    )
    result.assert_outcomes(failed=2)
    for text in ("test_gate[identity@1]", "test_gate[rotate(seed=2, key=secret)@2]"):
        assert text in output(result)
    assert "'--injx-release=rotate(seed=2, key=secret)@2'" in output(result)


def test_an_ini_names_what_is_shared(audited: Run, pytester: pytest.Pytester) -> None:
    """A line each."""
    pytester.makeini("[pytest]\ninjx_release =\n    identity@1\n    permute@1\n")
    result = audited(
        f"def test_gate(injx, injx_release):\n    injx.exposures(injx_release, {FEW})\n",
        prompts=PROMPTS,
    )
    result.assert_outcomes(passed=2)


def test_without_a_release_nothing_is_asked(audited: Run) -> None:
    """The test is skipped; and a run that was asked for an audit and made none is red."""
    result = audited("def test_gate(injx_release):\n    raise AssertionError\n", "-rs")
    result.assert_outcomes(skipped=1, failed=1)
    assert "nothing was compared" in output(result)


def test_a_release_that_is_none_is_wrong_use(audited: Run) -> None:
    """Before any test runs, with the place of the mistake."""
    result = audited("def test_gate():\n    pass\n", "--injx-release=gausian(0.1)@1")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-release: release 'gausian(0.1)@1': 'gausian' (character 1) is no step" in said(
        result
    )


@pytest.mark.parametrize(
    ("release", "message"),
    [
        ("identity@9", "layer 9 is out of range"),
        ("gaussian(sigma=1e-30)@1", "changes nothing"),
        ("lowrank(rank=16, sigma=1)@1", "rank=16 of rows of width 16"),
        ("identity@norm kv", "keys and values are cached by blocks"),
    ],
)
def test_what_does_not_fit_the_model_is_wrong_use(audited: Run, release: str, message: str) -> None:
    """One paragraph, without our frames."""
    result = audited(
        f"def test_gate(injx):\n    injx.assert_not_recoverable({release!r}, 0.5, {FEW})\n",
        prompts=PROMPTS,
    )
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert message in said(result)
    assert "Traceback" not in output(result)


@pytest.mark.slow
def test_workers_send_what_they_measured(audited: Run, pytester: pytest.Pytester) -> None:
    """The table is the same with two of them."""
    pytest.importorskip("xdist")
    result = audited(
        f"""
        import pytest

        @pytest.mark.parametrize("layer", [1, 2])
        def test_gate(injx, layer):
            injx.exposures(f"identity@{{layer}}", {FEW})
        """,
        *("-n2", "--injx-report=json:r.json"),
        prompts=PROMPTS,
    )
    result.assert_outcomes(passed=2)
    found = json.loads((pytester.path / "r.json").read_text())["releases"]
    assert {"1", "2"} == {one["place"] for one in found}


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of the suite, with fewer prompts."""
    for path in _SUITE.iterdir():
        if path.is_file():
            shutil.copy(path, pytester.path)
    return pytester


@pytest.mark.slow
def test_the_copied_suite_audits_a_model(
    suite: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
) -> None:
    """Curves on disk, what they found on the terminal, nothing kept."""
    conftest = suite.path / "conftest.py"
    size = '{"prompts": 50, "tokens": 6}'
    assert size in conftest.read_text()
    conftest.write_text(conftest.read_text().replace(size, '{"prompts": 2, "tokens": 3}'))
    result = suite.runpytest_inprocess(
        f"--injx-model={checkpoint('generic')}",
        f"--injx-prompts={prompt_file(PROMPTS)}",
        "--privacy-folder=drawn",
        "--deselect=test_kv_transfer.py::test_a_cache_in_8_bits_hides_nothing",
    )
    assert pytest.ExitCode.OK == result.ret, output(result)
    drawn: dict[str, Any] = {
        path.name: path.read_text() for path in (suite.path / "drawn").iterdir()
    }
    assert {"gaussian", "lowrank", "round", "topk"} == {name.partition(".")[0] for name in drawn}
    curves = json.loads(drawn["round.json"])["curves"]
    assert [4, 4] == [len(one["points"]) for one in curves]  # two cuts of two layers
    assert "round(bits=?)@1: " in said(result)
    left = output(result) + "".join(drawn.values())
    for word in WORDS:
        assert word not in left
        assert _encoded(word[:4]) not in left


@pytest.mark.slow
def test_the_copied_suite_passes_as_it_is(suite: pytest.Pytester) -> None:
    """`pytest` in a copy of the folder: the shipped model, its thresholds, no flag."""
    result = suite.runpytest_inprocess()
    assert pytest.ExitCode.OK == result.ret, output(result)
