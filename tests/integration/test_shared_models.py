"""The gate suite on trained models and a thousand natural prompts, from the flags to the table."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.support import cases, output, said, table_rows

_SHARED = (Path(__file__).parents[2] / ".." / "shared").resolve()
_PROMPTS = _SHARED / "prompts" / "prompts-1k.jsonl"
SUITE = """
def test_no_collisions(injx, injx_layer):
    injx.assert_no_collisions(injx_layer)

def test_margin(injx):
    verdict = injx.assert_margin_above("all", 1e-12, q=0.0)
    assert all(reason.value > 0 for reason in verdict.reasons)

def test_colipschitz(injx):
    assert all(reason.value > 0 for reason in injx.assert_colipschitz_above("all", alpha=1e-12).reasons)

def test_layer_0(injx):
    verdict = injx.check_no_collisions(0)
    assert "collisions (first 10 structural)" in verdict.reasons[0].headline
"""


DUPLICATES = """
def test_duplicates(injx):
    injx.assert_no_collisions("all")
    assert 2 == len(injx.prompts)
"""


@pytest.fixture
def trained(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Runs a suite on a trained model; skips the test where the model or the prompts are not."""

    def run(suite: str, model: str, *flags: str) -> pytest.RunResult:
        folder = _SHARED / "models" / model
        if not (folder / "config.json").is_file() or not _PROMPTS.is_file():
            pytest.skip(f"the trained model {model} or the prompts are not on this machine")
        pytester.makepyfile(suite)
        return pytester.runpytest_inprocess(
            f"--injx-model={folder}", f"--injx-prompts={_PROMPTS}", *flags
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "layers"),
    [("gpt2-1m", 4), ("qwen3-1m", 4), ("stories260k-llama", 5), ("slm4096-gpt2", 4)],
)
def test_the_gate_suite_runs_to_its_table(
    trained: Callable[..., pytest.RunResult], pytester: pytest.Pytester, model: str, layers: int
) -> None:
    """Margins are positive at layers 1 to L in full precision; layer 0's collisions are structural."""
    flags = ("--injx-overlong=drop", "--junitxml=j.xml", "--injx-report=json:r.json")
    result = trained(SUITE, model, *flags)
    assert pytest.ExitCode.OK == result.ret, output(result)
    names = [*(f"layer{layer:02d}" for layer in range(layers + 1)), "norm"]
    assert names == list(table_rows(result))
    report = json.loads((pytester.path / "r.json").read_text())
    by_name = {layer["layer"]: layer for layer in report["layers"]}
    for name in names[1:]:
        assert 0 == by_name[name]["collisions"]
        assert 0 < by_name[name]["resolution"] < by_name[name]["margin"]
    assert by_name["layer00"]["collisions"] > 0
    run = report["run"]
    assert 1000 == run["n"] + sum(run["dropped"].values())
    assert f"dropped: {run['dropped']['overlong']} overlong" in said(result) or run["n"] == 1000
    assert layers + 4 == len(cases(pytester.path / "j.xml"))
    first = json.loads(_PROMPTS.read_text().splitlines()[0])["text"]
    assert first not in output(result)


def test_texts_that_a_real_tokenizer_makes_equal_are_counted_apart(
    trained: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    """slm4096's tokenizer drops characters outside its 54: counted apart, named, no collisions."""
    (pytester.path / "p.txt").write_text("The été ended 13 times\nThe t ended  times\nAnother\n")
    result = trained(DUPLICATES, "slm4096-gpt2", "--injx-prompts=p.txt")
    result.assert_outcomes(passed=1)
    assert "1 indistinguishable" in said(result)
