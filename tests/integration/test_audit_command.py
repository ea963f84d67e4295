"""``pytest-injectivity audit``: the whole default audit, without a test file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity.__main__ import main
from tests.integration.support import Done, output

Audited = Callable[..., Done]


@pytest.fixture
def prompts(prompt_file: Callable[[list[str]], Path], texts: list[str]) -> str:
    """The flag that names a few prompts."""
    return f"--prompts={prompt_file(texts)}"


@pytest.fixture
def command(
    pytester: pytest.Pytester,
    prompts: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Audited:
    """Runs the command inside this process, in an empty folder, on a few prompts."""
    printed: list[str] = []

    def inside(arguments: list[str]) -> pytest.ExitCode:
        result = pytester.runpytest_inprocess(*arguments)
        printed.append(output(result))
        return pytest.ExitCode(result.ret)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(pytest, "main", inside)
        status = main(["audit", *map(str, arguments), prompts])
        return Done(status, printed.pop(), pytester.path)

    return run


def test_one_command_audits_a_model(command: Audited, checkpoint: Callable[[str], Path]) -> None:
    """Green, a table of layers, a page with a default name, everything as JSON; no test file."""
    done = command(checkpoint("generic"), "--json=found.json")
    assert 0 == done.status, done.text
    assert "GREEN: " in done.text
    assert "written: injectivity.html, found.json" in done.text
    assert ["found.json", "injectivity.html"] == sorted(one.name for one in done.folder.iterdir())
    found = json.loads((done.folder / "found.json").read_text())
    checks = {one["check"] for one in found["verdicts"]}
    assert {"no_collisions", "one_step_distinct", "sipit_recovers"} == checks
    assert {"layer01", "layer02", "norm"} == {one["layer"] for one in found["layers"]}
    assert {None, 8, 6, 4, 3, 2} == {one["bits"] for one in found["layers"]}
    assert found["outcome"]["command"].startswith("pytest ")


def test_a_model_that_fails_is_red(command: Audited, checkpoint: Callable[[str], Path]) -> None:
    """Exit status 1; what failed stands first."""
    done = command(checkpoint("planted"), "--no-html")
    assert 1 == done.status
    summary = done.text.partition("= injectivity =")[2]
    assert "RED: " in summary.splitlines()[1]
    assert "FAIL one_step_distinct" in summary
    assert [] == list(done.folder.iterdir())


def test_a_parent_is_compared_with(command: Audited, checkpoint: Callable[[str], Path]) -> None:
    """Judged by what its bits explain; the rest is in the table alone."""
    done = command(
        checkpoint("generic"),
        f"--reference={checkpoint('generic')}",
        "--dtype=bfloat16",
        "--json=f.json",
    )
    found = json.loads((done.folder / "f.json").read_text())
    checks = {one["check"] for one in found["verdicts"]}
    judged = {"same_function", "weight_error_below", "block_error_below", "no_new_collisions"}
    assert judged < checks
    assert not checks & {"state_drift_below", "margin_retained", "next_token_kept"}
    assert all(one["drift_q99"] is not None for one in found["comparisons"])
    assert found["run"]["next_token"] is not None


@pytest.fixture
def weightless(tmp_path: Path, checkpoint: Callable[[str], Path]) -> Path:
    """A model's folder without its weights."""
    folder = tmp_path / "weightless"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        source = checkpoint("generic") / name
        if source.exists():
            (folder / name).write_bytes(source.read_bytes())
    return folder


@pytest.fixture
def places(tmp_path: Path, weightless: Path, checkpoint: Callable[[str], Path]) -> dict[str, str]:
    """What the cases below name."""
    (tmp_path / "one.jsonl").write_text('{"text": "alone"}\n')
    return {
        "MODEL": str(checkpoint("generic")),
        "NOWHERE": str(tmp_path / "nowhere"),
        "ONE": str(tmp_path / "one.jsonl"),
        "WEIGHTLESS": str(weightless),
    }


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["{NOWHERE}"], "{NOWHERE}"),
        (["{ONE}"], "{ONE}"),
        (["{WEIGHTLESS}"], "{WEIGHTLESS}"),
        (["{MODEL}", "--prompts={NOWHERE}.txt"], "{NOWHERE}.txt"),
        (["{MODEL}", "--prompts={ONE}"], "one.jsonl: 1 distinct of 1 prompts"),
        (["{MODEL}", "--reference={NOWHERE}"], "{NOWHERE}"),
        (["{MODEL}", "--layers=99"], "99"),
        (["{MODEL}", "--states={NOWHERE}"], "--states={NOWHERE}: it cannot be read: No such file"),
        (["{MODEL}", "--states={ONE}"], "--states={ONE}: it is no complete safetensors file"),
        (["{MODEL}", "--dtype=float8"], "--injx-dtype"),
        (["{MODEL}", "--injx-dtype=float8"], "--injx-dtype"),
    ],
)
def test_what_cannot_be_audited_is_one_line(
    places: dict[str, str], capsys: pytest.CaptureFixture[str], given: list[str], named: str
) -> None:
    """No such model, no weights, no such prompts, no such parent: exit status 4, and no test is run."""
    assert 4 == main(["audit", *(word.format(**places) for word in given)])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith("error: ")
    assert 1 == printed.err.count("\n")
    assert named.format(**places) in printed.err
