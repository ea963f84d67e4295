"""The suite that measures a training, copied into a folder of one's own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests.integration.support import output
from tests.reports.pages import read

_SUITE = Path(__file__).parents[2] / "example_suites" / "training_trajectory"
_TEXTS = [f"{word} and {word[::-1]} make {len(word)}" for word in ("alpha", "box", "quite", "zeta")]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of the suite."""
    for path in _SUITE.iterdir():
        if path.is_file():
            shutil.copy(path, pytester.path)
    return pytester


def test_checkpoints_of_ones_own_are_measured(
    suite: pytest.Pytester, prompt_file: Callable[[list[str]], Path], tmp_path: Path
) -> None:
    """Nothing is trained: JSON on disk, tables on the terminal, figures on the page."""
    for step in (0, 5, 60, 70):
        decoder = tiny_decoder("gpt2", vocab=257, seed=step)
        save_checkpoint(decoder, tmp_path / "run" / f"checkpoint-{step}", byte_tokenizer())
    result = suite.runpytest_inprocess(
        f"--injx-model={tmp_path / 'run' / 'checkpoint-70'}",
        f"--injx-prompts={prompt_file(_TEXTS)}",
        "--injx-length=8",
        "--injx-report=html:page.html",
        "-k not hold",  # their factors are those of a training
    )
    assert pytest.ExitCode.OK == result.ret, output(result)
    written = json.loads((suite.path / "figures" / "along_training.json").read_text())
    assert [0, 5, 60, 70] == [point["step"] for point in written["points"][::3]]
    titles = {one.text for one in read((suite.path / "page.html").read_text()).all("h3")}
    assert "Margin over mean norm, along training" in titles
    assert "co-Lipschitz constant, 1 % quantile over the mean norm" in output(result)
    assert not (suite.path / "trained").exists()


@pytest.mark.slow
def test_a_margin_that_falls_is_red(
    suite: pytest.Pytester, prompt_file: Callable[[list[str]], Path], tmp_path: Path
) -> None:
    """With layer and step."""
    for step, seed in ((50, 1), (60, 0), (100, 2)):
        decoder = tiny_decoder("gpt2", vocab=257, seed=seed)
        if not seed:
            decoder.embedding_matrix().mul_(1e-4)
        save_checkpoint(decoder, tmp_path / "run" / f"checkpoint-{step}", byte_tokenizer())
    result = suite.runpytest_inprocess(
        f"--injx-model={tmp_path / 'run' / 'checkpoint-100'}",
        f"--injx-prompts={prompt_file(_TEXTS)}",
        "--injx-length=8",
        "-k test_margins_hold_after",
    )
    result.assert_outcomes(failed=1, deselected=6)
    assert "layer02: FAIL: step 60's margin over step 50's" in output(result)


@pytest.mark.slow
def test_the_copied_suite_trains_and_measures(suite: pytest.Pytester) -> None:
    """A small model and few steps; a second run trains nothing."""
    asked = ["--train-steps=24", "--train-layers=1", "--train-width=16", "-k not hold"]
    assert pytest.ExitCode.OK == suite.runpytest_inprocess(*asked).ret
    kept = suite.path / "trained" / "checkpoint-24" / "model.safetensors"
    written = kept.stat().st_mtime_ns
    assert 20 == len(list((suite.path / "trained").glob("checkpoint-*")))
    assert pytest.ExitCode.OK == suite.runpytest_inprocess(*asked).ret
    assert written == kept.stat().st_mtime_ns


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_a_head_of_its_own_is_trained_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tied: bool
) -> None:
    """A matrix beside the input embedding, which the training moves."""
    monkeypatch.syspath_prepend(_SUITE)
    from gpt2_training import Training, trained  # type: ignore[import-not-found] # the suite's own

    small = Training(
        steps=2, kept=2, layers=1, width=8, heads=1, window=64, batch=2, rate=0.1, tied=tied
    )
    run = trained(tmp_path / "run", small)
    first, last = (load_file(run / f"checkpoint-{step}" / "model.safetensors") for step in (0, 2))
    head = "lm_head.weight"
    assert [tied] * 2 == [head not in one for one in (first, last)]
    assert tied or not first[head].equal(last[head])
