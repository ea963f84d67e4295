"""The suite that draws the papers' figures, copied into a folder of one's own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.support import output
from tests.reports.pages import read

_SUITE = Path(__file__).parents[2] / "example_suites" / "paper_figures"
# Thresholds are the shipped model's; what is left holds of any model.
_ANY_MODEL = "not large_enough and not enough_bits and not told_apart"
_TEXTS = [f"{word} and {word[::-1]} make {len(word)}" for word in ("alpha", "box", "quite", "zeta")]


@pytest.fixture
def figures(pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of the suite."""
    for path in _SUITE.iterdir():
        if path.is_file():
            shutil.copy(path, pytester.path)
    return pytester


def test_the_copied_suite_draws_a_models_figures(
    figures: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
) -> None:
    """Lengths, a second model and the one-step margin: JSON on disk, tables on the terminal."""
    result = figures.runpytest_inprocess(
        f"--injx-model={checkpoint('generic')}",
        f"--injx-prompts={prompt_file(_TEXTS)}",
        f"--figure-models={checkpoint('deep')}",
        "--figure-lengths=4,8",
        "--figure-bits=8,4 asymmetric,2",
        "--figure-folder=drawn",
        "--injx-report=html:page.html",
        f"-k {_ANY_MODEL}",
    )
    assert pytest.ExitCode.OK == result.ret, output(result)
    by_bits = json.loads((figures.path / "drawn" / "by_bits.json").read_text())
    assert [None, 8, "4 asymmetric", 2] == [point["bits"] for point in by_bits["points"][::3]]
    assert {"0.01", "0.001", "0.0001", "1e-05", "1e-06"} == set(
        by_bits["points"][0]["near_fractions"]
    )
    titles = {one.text for one in read((figures.path / "page.html").read_text()).all("h3")}
    assert {f"Margin over mean norm, by {name}" for name in ("length", "model", "bits")} <= titles
    assert "first bits with collisions: layer01 " in output(result)
    by_length, by_model = (
        json.loads((figures.path / "drawn" / f"{name}.json").read_text())["points"]
        for name in ("by_length", "by_model")
    )
    assert {4, 8} == {point["length"] for point in by_length}
    assert ["layer01", "layer02", "norm"] == [point["layer"] for point in by_length[:3]]
    assert [3, 5] == [
        sum(point["model"].endswith(name) for point in by_model) for name in ("generic", "deep")
    ]
    assert {4} == {point["n"] for point in by_model}
    for title in ("by length: ", "by model: ", "smallest distance at layers 1, L/2, L"):
        assert title in output(result)


@pytest.mark.slow
def test_a_collision_is_red(
    figures: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
) -> None:
    """As they are and in windows; figures whose numbers are bounded by 0 stay figures."""
    result = figures.runpytest_inprocess(
        f"--injx-model={checkpoint('planted')}",
        f"--injx-prompts={prompt_file(['box and cat', 'boy and cat', 'what else', 'and more'])}",
        "--figure-lengths=4",
        f"-k {_ANY_MODEL}",
    )
    failed = [line for line in output(result).splitlines() if line.startswith("FAILED")]
    assert 3 == len(failed)
    assert all("collide" in line for line in failed)


@pytest.mark.slow
def test_the_copied_suite_passes_as_it_is(figures: pytest.Pytester) -> None:
    """`pytest` in a copy of the folder: the shipped model, its thresholds, no flag."""
    result = figures.runpytest_inprocess()
    assert pytest.ExitCode.OK == result.ret, output(result)
    drawn = sorted(path.name for path in (figures.path / "figures").iterdir())
    assert ["by_bits.json", "by_length.json", "by_model.json", "one_step.json"] == drawn
