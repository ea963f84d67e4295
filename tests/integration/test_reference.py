"""The gate against the parent, as a run of pytest has it."""

import json
from pathlib import Path

import pytest

from pytest_injectivity.testing import (
    byte_tokenizer,
    double_block,
    round_weights,
    save_checkpoint,
    tiny_decoder,
    untie_head,
)
from tests.integration.conftest import Run
from tests.integration.support import cases, output, properties, reproduce_lines, said
from tests.quantized import configure

GATE = """
    def test_drift(assert_state_drift_below):
        assert_state_drift_below(relative=0.5)

    def test_new_collisions(assert_no_new_collisions):
        assert_no_new_collisions()

    def test_next_tokens(assert_next_token_kept):
        assert_next_token_kept(kl=0.05, top1=0.8)

    def test_margins(assert_margin_retained, assert_colipschitz_retained, injx_layer):
        assert_margin_retained(injx_layer, fraction=0.5)
        assert_colipschitz_retained(injx_layer, fraction=0.5)
"""


def _child(folder: Path, damaged: int | None = None) -> Path:
    """The generic model of the other tests, of four layers, rounded to 8 bits."""
    decoder = round_weights(
        tiny_decoder("gpt2", vocab=256, layers=4, tokenizer=byte_tokenizer()), 8
    )
    if damaged is not None:
        double_block(decoder, damaged)
    return save_checkpoint(decoder, folder)


@pytest.fixture
def flags(tmp_path: Path, checkpoint: object) -> list[str]:
    """A sound child of the deep model."""
    return [f"--injx-model={_child(tmp_path / 'child')}", f"--injx-reference={checkpoint('deep')}"]  # type: ignore[operator]


def test_a_sound_child_is_green_and_its_numbers_are_shown(
    flags: list[str], audited: Run, tmp_path: Path
) -> None:
    """In the terminal, in JSON and in JUnit, with what it was held against."""
    report, junit = tmp_path / "r.json", tmp_path / "r.xml"
    result = audited(GATE, *flags, f"--injx-report=json:{report}", f"--junitxml={junit}")
    assert pytest.ExitCode.OK == result.ret, output(result)
    text = said(result)
    reference = flags[1].partition("=")[2]
    assert f"against {reference} (float32, cpu)" in text.replace("- ", "-")
    assert "99 %: drift of 99 % of the prompts" in text
    assert "no room for " in text
    assert "next token KL(parent || model) 7.9" in text
    found = json.loads(report.read_text())
    names = [one["layer"] for one in found["comparisons"]]
    assert ["layer00", "layer01", "layer02", "layer03", "layer04", "norm"] == sorted(names)
    assert f"{reference} (float32, cpu)" == found["run"]["reference"]
    next_token = found["run"]["next_token"]
    assert 0 < next_token["kl"]["low"] < next_token["kl"]["value"] < next_token["kl_max"]
    assert 0.8 < next_token["top1"]["value"] < 1
    one = next(one for one in found["comparisons"] if one["layer"] == "layer03")
    assert one["margin"]["low"] <= one["margin"]["value"] <= one["margin"]["high"]
    assert 0 < one["drift_median"] <= one["drift_q99"] <= one["drift_max"] < 0.5
    assert 0 == one["new_collisions"]
    drift = properties(cases(junit)["test_drift"])["state_drift_below.layer03"]
    assert drift.endswith(" PASS")


@pytest.mark.slow
def test_a_damaged_child_is_red_and_the_block_is_named(
    flags: list[str], audited: Run, tmp_path: Path
) -> None:
    """First in the short summary; reproducing it needs the flag."""
    flags[0] = f"--injx-model={_child(tmp_path / 'broken', 3)}"
    result = audited(GATE.partition("def test_margins")[0], *flags)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "FAIL state_drift_below layer03: drift (99 %) " in output(result)
    assert "first bad layer: layer03; worst: " in output(result)
    assert "FAIL state_drift_below layer02" not in output(result)
    assert all("--injx-reference=" in line for line in reproduce_lines(result))


@pytest.mark.parametrize("value", [float("nan"), pytest.param(0.0, marks=pytest.mark.slow)])
def test_a_child_whose_head_alone_is_broken_is_red_at_the_head(
    flags: list[str], audited: Run, tmp_path: Path, value: float
) -> None:
    """All NaN, or never filled: every state is the parent's, and every other check passes."""
    child = round_weights(tiny_decoder("gpt2", vocab=256, layers=4, tokenizer=byte_tokenizer()), 8)
    untie_head(child).model.get_output_embeddings().weight.fill_(value)  # type: ignore[operator, union-attr] # a matrix
    flags[0] = f"--injx-model={save_checkpoint(child, tmp_path / 'headless')}"
    result = audited(GATE, *flags)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "FAIL next_token_kept head: " in output(result)
    result.assert_outcomes(passed=7, failed=1)


def test_without_a_reference_it_is_wrong_use(audited: Run) -> None:
    """One paragraph, exit status 4."""
    result = audited(GATE)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "no reference is named: give --injx-reference=MODEL" in said(result)


def test_the_ini_names_it_as_well(
    flags: list[str], audited: Run, pytester: pytest.Pytester
) -> None:
    """A project fixes its parent."""
    pytester.makeini(f"[pytest]\ninjx_reference = {flags[1].partition('=')[2]}\n")
    result = audited(GATE, flags[0])
    assert pytest.ExitCode.OK == result.ret, output(result)


def test_a_config_that_is_another_function_is_said_before_any_number(
    flags: list[str], audited: Run, tmp_path: Path
) -> None:
    """Under the first line of each failure, and once at the end of the run."""
    configure(tmp_path / "child", layer_norm_epsilon=1e-2)
    first, _, _ = GATE.partition("def test_new_collisions")
    result = audited(first.replace("relative=0.5", "relative=1e-9"), *flags)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    config = "config differs from the parent's: layer_norm_epsilon 0.01 (parent 1e-05)"
    failure = output(result).partition("FAIL state_drift_below")[2].splitlines()
    assert config in failure[1]
    summary = output(result).partition("= injectivity =")[2]
    assert 1 == summary.count(config)
    assert summary.index(config) < summary.index("FAIL state_drift_below")
