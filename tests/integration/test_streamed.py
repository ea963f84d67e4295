"""An audit of a model whose blocks stay on disk has the numbers of one in memory."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.models import placement
from tests.integration.support import said

pytest.importorskip("accelerate", reason="weights that stay on disk need accelerate")

SUITE = """
def test_layers(injx, injx_layer):
    injx.assert_no_collisions(injx_layer)
    injx.assert_margin_above(injx_layer, 1e-9)

def test_prompts_come_back(assert_sipit_recovers):
    assert_sipit_recovers(2, prompts=2, tokens=4)

def test_parent(assert_next_token_kept, assert_weight_error_below, assert_block_error_below):
    assert_next_token_kept(kl=1.0)
    assert_weight_error_below()
    assert_block_error_below()
"""
# What differs between two runs of one audit, and what needs a float64 copy of the model.
OTHER = {"seconds", "reproduce", "error", "evidence"}

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(
    pytester: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[Sequence[str]], Path],
    texts: list[str],
) -> Run:
    """Runs the suite on a child in bfloat16 and its parent, inside this process."""
    pytester.makepyfile(test_suite=SUITE)
    named = [f"--injx-{of}={checkpoint('generic')}" for of in ("model", "reference")]
    given = [*named, f"--injx-prompts={prompt_file(texts)}", "--injx-dtype=bfloat16"]

    def run(*flags: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(*given, "--injx-no-cache", *flags)

    return run


def _numbers(found: Any) -> Any:
    if isinstance(found, dict):
        known = {name: one for name, one in found.items() if name not in OTHER}
        if "certificate" in known:  # of which one claim needs the copy
            known["certificate"] = {**known["certificate"], "exact": None}
        return {name: _numbers(one) for name, one in known.items()}
    return [_numbers(one) for one in found] if isinstance(found, list) else found


@pytest.mark.slow
def test_all_numbers_are_those_of_a_model_in_memory(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Geometry, recovery and what is held against the parent, to the last bit."""
    monkeypatch.setenv("INJX_HASH_KEY", "a key")
    reports = []
    for mode in ("whole", "stream"):
        result = run(f"--injx-load={mode}", f"--injx-report=json:{mode}.json")
        result.assert_outcomes(passed=5)
        reports.append(json.loads((pytester.path / f"{mode}.json").read_text()))
    kept = [
        {name: _numbers(report[name]) for name in ("layers", "comparisons", "verdicts")}
        for report in reports
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]["verdicts"]) > 5


def test_weights_that_do_not_fit_stay_on_disk_and_the_run_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing falls back in silence."""
    monkeypatch.setattr(placement, "free_memory", lambda _device: 1)
    result = run("-k", "layers")
    result.assert_outcomes(passed=3)
    assert "do not fit into memory: each block is read from disk when it runs" in said(result)
